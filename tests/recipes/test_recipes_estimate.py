"""What a run will take: measured on a sample, scaled to the whole, and nothing left behind."""

import json

import pytest
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.data import read_contexts, read_documents, write_run
from distillir.errors import ConfigError
from distillir.recipes import SparseRecipe, estimate_documents, estimate_sample
from distillir.recipes.estimate import estimate_run
from distillir.recipes.estimate_scale import Scales, scaled_disk, scaled_seconds
from distillir.recipes.progress import Mark
from distillir.training import TrainSettings

COMMON = "corpus: corpus.jsonl\ntrain: train.jsonl\ndev: dev.jsonl\ntest: test.jsonl\nout: run\nmax_length: 32\n"

SCALES = Scales(document=100.0, candidate=3.0, joined=50.0, context=10.0, dev=5.0)


def told_of(folder, text: str) -> dict:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), "--estimate", "--json"])
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


def test_a_sparse_recipe_is_measured_on_a_sample_and_leaves_nothing(animals, tmp_path, monkeypatch):
    folder = animals(tmp_path / "data")
    monkeypatch.setattr(estimate_documents, "DOCUMENTS", 10)
    monkeypatch.setattr(estimate_sample, "CONTEXTS", 6)
    rows = [json.dumps({"_id": f"n{i}", "text": f"Where animal {i} lives."}) for i in range(90)]
    (folder / "news.jsonl").write_text("\n".join(rows), encoding="utf-8")
    before = sorted(path.name for path in folder.iterdir())
    told = told_of(
        folder,
        f"{COMMON}candidate_corpus: news.jsonl\nengine: exact\nmethod: disco\ntraining: {{batch_size: 5, epochs: 4}}\n",
    )
    assert (told["documents"], told["contexts"], told["steps"]) == (40, 12, 12)  # ⌈12 / 5⌉ batches, four times
    assert told["measured"]["contexts"] == 6
    assert 10 <= told["measured"]["documents"] < 40
    assert (told["candidates"], told["measured"]["candidates"]) == (90, 10)
    assert {"encode", "encode candidates", "label", "train", "evaluate on dev"} <= set(told["seconds"])
    assert all(seconds >= 0 for seconds in told["seconds"].values())
    assert told["seconds"]["train"] > 0
    # SPLADE-tiny has 4.4 M weights: the student 17.6 MB, a checkpoint about four times that, three of them.
    assert told["disk_mb"]["student"] == pytest.approx(17.6, rel=0.2)
    assert told["disk_mb"]["checkpoints"] == pytest.approx(3 * 4 * 17.6, rel=0.2)
    assert told["memory_mb"] > 100
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "recipe.yaml"])


@pytest.mark.slow
@pytest.mark.parametrize("student", ["dense", "reranker", "response", "generative"])
def test_every_student_is_measured(animals, tiny_writer, tmp_path, student):
    folder = animals(tmp_path / "data")
    names = [document.id for _, document in read_documents(folder / "corpus.jsonl")]
    contexts = read_contexts(folder / "train.jsonl")
    write_run(folder / "teacher.trec", {c.id: {n: float(-i) for i, n in enumerate(names[:8])} for c in contexts})
    recipe = {
        "dense": COMMON + "model: splade-tiny\nmethod: {draw: {top: {n: 4}}}\n",
        "reranker": COMMON + "teacher_run: teacher.trec\npassage_length: 24\nmodel: splade-tiny\n"
        "method: {depth: 4, stages: [{objective: {ranknet: {}}}, {objective: {ranknet: {}}}]}\n",
        "response": COMMON.replace("corpus:", "responses:")
        + "method: pairs\nresponse_length: 16\nmodel: splade-tiny\n",
        "generative": COMMON + f"model: {tiny_writer}\nbeams: 3\nmethod: learn\n",
    }[student]
    told = told_of(folder, f"student: {student}\n{recipe}training: {{batch_size: 4, epochs: 2}}\n")
    assert told["steps"] == (12 if student == "reranker" else 6)
    assert told["seconds"]["train"] > 0
    assert told["disk_mb"]
    assert not (folder / "run").exists()


def test_seconds_are_scaled_by_what_they_grow_with():
    marks = [
        Mark(0.0, "begin encode corpus"), Mark(2.0, "encode corpus"), Mark(2.0, "label"), Mark(3.0, "contexts"),
        *(Mark(10.0 + step, "train", step) for step in (1, 2, 3, 4)), Mark(18.0, "train", 5),
        Mark(18.0, "index (exact)"), Mark(18.5, "evaluate"),
    ]  # fmt: skip
    spent = scaled_seconds(marks, SCALES, [TrainSettings(epochs=4)], [200])
    assert spent == pytest.approx(
        {"encode": 200.0, "label": 10.0, "train": 200.0, "evaluate on dev": 3.0 * 5.0 * 4, "index": 50.0}
    )


def test_candidates_are_scaled_by_their_own_ratio(tmp_path):
    marks = [
        Mark(0.0, "begin encode corpus"), Mark(2.0, "encode corpus"), Mark(2.5, "begin encode candidates"),
        Mark(4.0, "encode candidates"), Mark(5.5, "encode candidates: 40 of 40"), Mark(5.75, "label"),
        Mark(6.75, "contexts"),
    ]  # fmt: skip
    spent = scaled_seconds(marks, SCALES, [TrainSettings()], [1])
    assert spent == pytest.approx({"encode": 200.0, "encode candidates": 9.0, "join": 0.25 * 50, "label": 10.0})
    sizes = {
        "corpus.arrow": 1, "corpus.vectors": 1, "candidates.arrow": 1, "candidates.vectors": 3, "joined.vectors": 5,
        "candidates.trec": 2, "student": 7, "checkpoints": 1,
    }  # fmt: skip
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size * 2**20))
    assert scaled_disk(tmp_path, SCALES) == pytest.approx(
        {
            "corpus.arrow": 100, "corpus.vectors": 100, "candidates.arrow": 3, "candidates.vectors": 9,
            "joined.vectors": 5 * (1 * 100 + 3 * 3) / 4, "candidates.trec": 20, "student": 7, "checkpoints": 3,
        }
    )  # fmt: skip


def test_what_cannot_be_estimated_is_refused(animals, tmp_path, monkeypatch):
    folder = animals(tmp_path / "data")
    recipe = SparseRecipe(out=folder / "run", corpus=folder / "corpus.jsonl")
    with pytest.raises(ConfigError, match="names no train contexts"):
        estimate_run(recipe, lambda small: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="measures one process"):
        estimate_run(recipe, lambda small: None)
