"""A batch is one batch, however it is cut into parts and over processes; two of them really start here."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ranks_run
import torch
from safetensors.torch import load_file

from distillir.students.batch import score_documents
from distillir.training.global_batch import Part, parts_of


def started(folder: Path, processes: int, **options: Any) -> list[int]:
    """Exit codes of the processes; the second is ended once the first is. One process runs here."""
    if not (folder / "documents").exists():
        ranks_run.write_documents(folder)
    if processes == 1:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim, "AdamW", torch.optim.AdamW)
            try:
                ranks_run.run(folder, 0, **options)
            except SystemExit:
                return [7]
        return [0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        subprocess.Popen(
            [sys.executable, ranks_run.__file__, str(i), str(processes), str(port), str(folder), json.dumps(options)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    codes = []
    for child in children:
        if codes and codes[0]:
            child.kill()
        _, error = child.communicate(timeout=120)
        assert child.returncode in (0, 7, -9) or (codes and codes[0]), error
        codes.append(child.returncode)
    return codes


def told(folder: Path, rank: int = 0) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    return json.loads((folder / f"told.{rank}.json").read_text()), load_file(folder / f"told.{rank}.safetensors")


def folder_of(base: Path, name: str) -> Path:
    (base / name).mkdir()
    return base / name


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The run in one process and one part a batch."""
    folder = tmp_path_factory.mktemp("whole")
    assert started(folder, 1) == [0]
    return told(folder)


@pytest.mark.parametrize(
    ("processes", "batch_size", "accumulate"),
    [(1, 2, 4), (2, 4, 1), pytest.param(2, 1, 4, marks=pytest.mark.slow)],
    ids=["accumulation 4", "two processes", "both"],
)
def test_loss_penalty_and_gradients_are_those_of_the_whole_batch(whole, tmp_path, processes, batch_size, accumulate):
    """19 contexts in batches of 8: the last has 3, so a process may have one context or none of a part."""
    assert started(tmp_path, processes, batch_size=batch_size, accumulate=accumulate) == [0] * processes
    (wanted, tensors), (found, ours) = whole, told(tmp_path)
    assert len(wanted["ticks"]) == 9
    for one, two in zip(wanted["ticks"], found["ticks"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    torch.testing.assert_close(ours["gradients"], tensors["gradients"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours["up.weight"], tensors["up.weight"], atol=1e-4, rtol=1e-4)
    assert torch.equal(ours["unused"], torch.ones(3))
    for bucket, report in wanted["steered"]["control"].items():
        assert found["steered"]["control"][bucket] == pytest.approx(report, abs=1e-5)
    if processes == 2:
        other, theirs = told(tmp_path, 1)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert other["history"] == found["history"]  # early stops are decided alike
        assert (found["evaluated"], other["evaluated"]) == (5, 0)
        assert other["ticks"] == []


@pytest.mark.slow
def test_processes_share_the_walk_over_the_collection(tmp_path):
    """KLD over all documents, beside one over lists in a mix that weighs them by their gradients."""
    one, two = folder_of(tmp_path, "one"), folder_of(tmp_path, "two")
    assert started(one, 1, collection=True, batch_size=8) == [0]
    assert started(two, 2, collection=True, batch_size=4) == [0, 0]
    (wanted, tensors), (found, ours), (other, theirs) = told(one), told(two), told(two, 1)
    for before, now in zip(wanted["ticks"], found["ticks"], strict=True):
        assert now == pytest.approx(before, abs=1e-5)
    torch.testing.assert_close(ours["gradients"], tensors["gradients"], atol=1e-5, rtol=1e-5)
    assert found["steered"]["mix"] == pytest.approx(wanted["steered"]["mix"], rel=1e-4)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert found["walks"] + other["walks"] == wanted["walks"]
    assert abs(found["walks"] - other["walks"]) <= 0.2 * wanted["walks"]


@pytest.mark.slow
def test_a_last_batch_of_one_context_leaves_a_process_idle(tmp_path):
    one, two = folder_of(tmp_path, "one"), folder_of(tmp_path, "two")
    assert started(one, 1, batch_size=6, max_steps=4) == [0]
    assert started(two, 2, batch_size=3, max_steps=4) == [0, 0]
    torch.testing.assert_close(told(one)[1]["gradients"], told(two)[1]["gradients"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_was_cut_ends_bitwise_as_one_that_was_not(tmp_path, processes):
    """Weights, controller and dropout, of every process."""
    options = {"batch_size": 2, "accumulate": 2, "dropout": 0.3, "keep": True, "checkpoint_every": 2}
    straight, cut = folder_of(tmp_path, "straight"), folder_of(tmp_path, "cut")
    assert started(straight, processes, **options) == [0] * processes
    assert started(cut, processes, **options, stop=5)[0] == 7
    assert started(cut, processes, **options) == [0] * processes
    (wanted, tensors), (found, ours) = told(straight), told(cut)
    assert found["ticks"][0][0] == 5
    assert torch.equal(ours["gradients"], tensors["gradients"][4:])
    assert all(torch.equal(ours[name], tensors[name]) for name in ours if name != "gradients")
    assert found["steered"] == wanted["steered"]
    assert found["history"] == wanted["history"]


@pytest.mark.slow
def test_four_processes_hold_a_sparsity_target_as_one_does(tmp_path):
    """50 steps of the same global batches: loss and gradients first, active dimensions to the end."""
    one, four = folder_of(tmp_path, "one"), folder_of(tmp_path, "four")
    options = {"epochs": 30, "max_steps": 50, "evaluate_every": 50}
    assert started(one, 1, batch_size=8, **options) == [0]
    assert started(four, 4, batch_size=2, **options) == [0] * 4
    (wanted, tensors), (found, ours) = told(one), told(four)
    assert len(wanted["ticks"]) == len(found["ticks"]) == 50
    for (_, loss, active), (_, our_loss, our_active) in zip(wanted["ticks"], found["ticks"], strict=True):
        assert our_active == pytest.approx(active, rel=0.01)
        assert our_loss == pytest.approx(loss, rel=0.01)
    for before, now in zip(wanted["ticks"][:5], found["ticks"][:5], strict=True):
        assert now == pytest.approx(before, abs=1e-5)
    torch.testing.assert_close(ours["gradients"][:5], tensors["gradients"][:5], atol=1e-5, rtol=1e-5)
    counts = [report["count"] for report in wanted["steered"]["control"].values()]
    ours_counts = [report["count"] for report in found["steered"]["control"].values()]
    assert ours_counts == pytest.approx(counts, rel=0.01)


def test_parts_cover_a_batch_once():
    for count in range(1, 40):
        for size in (1, 3, 8):
            for ranks in (1, 2, 3):
                cut = [part for rank in range(ranks) for part in parts_of(count, size, ranks, rank) if part.own]
                assert sorted(i for part in cut for i in range(part.start, part.stop)) == list(range(count))
                assert all(part.stop - part.start <= size for part in cut)
    assert parts_of(1, 4, 2, 1) == [Part(0, 1)]
    assert parts_of(1, 4, 2, 0) == [Part(0, 1, own=False)]


def test_a_part_of_a_sparse_batch_scores_as_the_whole(tmp_path):
    ranks_run.write_documents(tmp_path)
    batch = ranks_run.data(tmp_path).collate(range(9), 0)
    vectors = torch.rand(9, ranks_run.DIM)
    every, part = score_documents(vectors, batch), score_documents(vectors[3:7], batch.part(3, 7))
    assert torch.equal(part.mask, every.mask[3:7])
    torch.testing.assert_close(part.scores[part.mask], every.scores[3:7][part.mask])
    torch.testing.assert_close(part.shared, every.shared[3:7])
    assert torch.equal(part.shared_mask, every.shared_mask[3:7])
    cut = batch.part(3, 7)
    assert cut.names == batch.names[3:7]
    assert [i[m].tolist() for i, m in zip(cut.ids, cut.mask, strict=True)] == [
        i[m].tolist() for i, m in zip(batch.ids[3:7], batch.mask[3:7], strict=True)
    ]
    assert torch.equal(cut.targets.turns, batch.targets.turns[3:7])
    assert len(cut.documents.indptr) <= len(batch.documents.indptr)
