"""Stored rankings: what comes back, what merging keeps, what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import DataError, SamplingError
from distillir.sampling import RankedPool, Ranking


def ranked(positions, scores=None):
    scores = -np.arange(len(positions)) if scores is None else scores
    return Ranking(np.array(positions, dtype=np.int64), np.array(scores, dtype=np.float32))


def same(a, b):
    return (
        a.positions.dtype == b.positions.dtype == np.int64
        and a.positions.tolist() == b.positions.tolist()
        and a.scores.tolist() == b.scores.tolist()
    )


ROWS = [("q1_t1", ranked([5, 2, 9], [3.5, 2.5, 2.5])), ("q1_t2", ranked([])), ("zweite\nZeile é", ranked([2]))]


@pytest.fixture
def stored(tmp_path):
    RankedPool.build(ROWS, tmp_path / "pool", retriever="splade")
    return tmp_path / "pool"


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_goes_in_comes_out(tmp_path, on_disk):
    pool = RankedPool.build(iter(ROWS), tmp_path / "pool" if on_disk else None, retriever="splade")
    assert list(pool) == [context for context, _ in ROWS]
    assert len(pool) == 3
    assert all(same(pool[context], ranking) for context, ranking in ROWS)
    assert "q1_t1" in pool
    assert pool.get("missing") is None
    assert pool.finders(pool["q1_t1"], 2) == ("splade",)
    with pytest.raises(SamplingError, match="missing"):
        pool["missing"]


def test_reading_does_not_load_the_arrays_and_cannot_change_them(stored):
    pool = RankedPool.open(stored)
    assert isinstance(pool._arrays["positions"], np.memmap)
    pool["q1_t1"].positions[0] = 77
    assert RankedPool.open(stored)["q1_t1"].positions[0] == 5


def test_positions_are_stored_in_four_bytes_until_they_need_eight(tmp_path):
    wide = 2**31
    for name, top, dtype in (("narrow", wide - 1, "int32"), ("wide", wide, "int64")):
        pool = RankedPool.build([("c", ranked([top, 0]))], tmp_path / name)
        assert np.load(tmp_path / name / "positions.npy").dtype == dtype
        assert pool["c"].positions.tolist() == [top, 0]


def test_pool_without_contexts(tmp_path):
    RankedPool.build([], tmp_path / "pool")
    assert list(RankedPool.open(tmp_path / "pool")) == []
    assert len(RankedPool.build([])) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.lists(st.integers(0, 2**40), unique=True, max_size=6),
        max_size=6,
    )
)
def test_disk_and_memory_agree(tmp_path_factory, lists):
    folder = tmp_path_factory.mktemp("pools") / "pool"
    rows = [(context, ranked(positions)) for context, positions in lists.items()]
    disk, memory = RankedPool.build(rows, folder), RankedPool.build(rows)
    assert list(disk) == list(memory) == list(lists)
    assert all(same(disk[c], memory[c]) and disk[c].positions.tolist() == lists[c] for c in lists)


# merging


def test_merge_by_hand():
    sparse = RankedPool.build([("c", ranked([1, 2, 3], [9, 8, 7])), ("only sparse", ranked([4]))])
    dense = RankedPool.build([("c", ranked([2, 5, 1, 6], [0.9, 0.8, 0.7, 0.6]))])
    pool = RankedPool.merge({"sparse": sparse, "dense": dense})
    merged = pool["c"]
    # sparse 1: 1 · dense 1: 2 · sparse 2: 2 again · dense 2: 5 · sparse 3: 3 · dense 3: 1 again · dense 4: 6
    assert merged.positions.tolist() == [1, 2, 5, 3, 6]
    assert merged.scores.tolist() == pytest.approx([9, 0.9, 0.8, 7, 0.6])
    assert [pool.finders(merged, i) for i in range(5)] == [
        ("sparse", "dense"),
        ("sparse", "dense"),
        ("dense",),
        ("sparse",),
        ("dense",),
    ]
    assert pool["only sparse"].positions.tolist() == [4]
    assert pool.finders(pool["only sparse"], 0) == ("sparse",)


def test_merge_depth_cuts_the_list_but_not_the_memory_of_who_found_it(tmp_path):
    pools = {"a": RankedPool.build([("c", ranked([1, 2]))]), "b": RankedPool.build([("c", ranked([3, 4, 1]))])}
    pool = RankedPool.merge(pools, tmp_path / "merged", depth=2)
    assert pool["c"].positions.tolist() == [1, 3]
    assert RankedPool.open(tmp_path / "merged").finders(pool["c"], 0) == ("a", "b")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8), min_size=1, max_size=8))
def test_merge_agrees_with_a_plain_loop(lists):
    pools = {f"r{i}": RankedPool.build([("c", ranked(positions))]) for i, positions in enumerate(lists)}
    expected = []
    for rank in range(8):
        for positions in lists:
            if rank < len(positions) and positions[rank] not in expected:
                expected.append(positions[rank])
    pool = RankedPool.merge(pools)
    merged = pool["c"]
    assert merged.positions.tolist() == expected
    for i, document in enumerate(expected):
        assert pool.finders(merged, i) == tuple(f"r{r}" for r, positions in enumerate(lists) if document in positions)


def test_stratified_retrievers_bring_equally_many_new_documents():
    sparse = RankedPool.build([("c", ranked([1, 2, 3, 4], [9, 8, 7, 6]))])
    dense = RankedPool.build([("c", ranked([1, 2, 5, 6, 7], [0.9, 0.8, 0.7, 0.6, 0.5]))])
    pool = RankedPool.merge({"sparse": sparse, "dense": dense}, rule="stratified")
    # sparse 1 · dense: 1 is there, 2 · sparse: 2 is there, 3 · dense 5 · sparse 4 · dense 6 · dense 7
    assert pool["c"].positions.tolist() == [1, 2, 3, 5, 4, 6, 7]
    assert pool["c"].scores.tolist() == pytest.approx([9, 0.8, 7, 0.7, 6, 0.6, 0.5])
    assert pool.finders(pool["c"], 1) == ("sparse", "dense")
    assert pool.finders(pool["c"], 3) == ("dense",)


def test_rrf_orders_by_summed_reciprocal_ranks():
    sparse = RankedPool.build([("c", ranked([1, 2, 3]))])
    dense = RankedPool.build([("c", ranked([2, 5, 1]))])
    pool = RankedPool.merge({"sparse": sparse, "dense": dense}, rule="rrf", depth=3)
    assert pool["c"].positions.tolist() == [2, 1, 5]
    assert pool["c"].scores.tolist() == pytest.approx([1 / 61 + 1 / 62, 1 / 61 + 1 / 63, 1 / 62])
    assert pool.finders(pool["c"], 2) == ("dense",)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8), min_size=1, max_size=8),
    st.sampled_from(["round_robin", "stratified", "rrf"]),
)
def test_every_rule_keeps_every_document_once_with_its_finders(lists, rule):
    pools = {f"r{i}": RankedPool.build([("c", ranked(positions))]) for i, positions in enumerate(lists)}
    pool = RankedPool.merge(pools, rule=rule)
    merged = pool["c"]
    assert sorted(merged.positions.tolist()) == sorted({d for positions in lists for d in positions})
    for i, document in enumerate(merged.positions.tolist()):
        assert pool.finders(merged, i) == tuple(f"r{r}" for r, positions in enumerate(lists) if document in positions)


def test_merge_refuses_what_it_cannot_remember():
    pool = RankedPool.build(ROWS)
    with pytest.raises(SamplingError, match="9 pools"):
        RankedPool.merge({str(i): pool for i in range(9)})
    with pytest.raises(SamplingError, match="0 pools"):
        RankedPool.merge({})
    with pytest.raises(SamplingError, match="depth"):
        RankedPool.merge({"a": pool}, depth=0)
    with pytest.raises(SamplingError, match="no rule 'interleave'"):
        RankedPool.merge({"a": pool}, rule="interleave")


# hazards


@pytest.mark.parametrize(
    ("positions", "scores", "message"),
    [
        (np.array([1, 2], np.int32), np.zeros(2, np.float32), "int32"),
        (np.array([1, 2]), np.zeros(2), "float64"),
        (np.array([[1, 2]]), np.zeros(2, np.float32), r"\(1, 2\)"),
        ([1, 2], np.zeros(2, np.float32), "list"),
        (np.array([1, 2]), np.zeros(3, np.float32), "2 positions but 3 scores"),
        (np.array([1, 2]), np.array([1, np.nan], np.float32), "rank 2 is nan"),
        (np.array([1, 2]), np.array([np.inf, 1], np.float32), "rank 1 is inf"),
        (np.array([1, -1]), np.zeros(2, np.float32), "position -1"),
        (np.array([1, 1]), np.zeros(2, np.float32), "twice"),
    ],
)
def test_a_ranking_refuses(positions, scores, message):
    with pytest.raises(SamplingError, match=message):
        Ranking(positions, scores)


def test_rising_scores_are_refused_because_bands_would_be_upside_down():
    with pytest.raises(SamplingError, match=r"'c'.*rank 3 is higher than at rank 2"):
        RankedPool.build([("c", ranked([1, 2, 3], [0.3, 0.2, 0.4]))])


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_context_given_twice_is_refused(tmp_path, on_disk):
    with pytest.raises(SamplingError, match="two rankings of context 'c'"):
        RankedPool.build([("c", ranked([1])), ("c", ranked([2]))], tmp_path / "pool" if on_disk else None)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(stored):
    with pytest.raises(DataError, match="already exists"):
        RankedPool.build(ROWS, stored)
    assert len(RankedPool.open(stored)) == 3


def test_a_missing_folder_and_each_missing_file_are_named(stored, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*pool\.json"):
        RankedPool.open(tmp_path / "nowhere")
    for file in sorted(stored.iterdir()):
        copy = tmp_path / "copy"
        shutil.copytree(stored, copy)
        (copy / file.name).unlink()
        with pytest.raises(DataError, match=file.name):
            RankedPool.open(copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
def test_a_truncated_file_is_named(stored, tmp_path, keep):
    for file in sorted(stored.iterdir()):
        copy = tmp_path / "copy"
        shutil.copytree(stored, copy)
        (copy / file.name).write_bytes(file.read_bytes()[:keep])
        with pytest.raises(DataError, match=file.name):
            RankedPool.open(copy)
        shutil.rmtree(copy)


def test_files_that_do_not_belong_together_are_refused(stored):
    np.save(stored / "offsets.npy", np.array([0, 3, 2, 4]))
    with pytest.raises(DataError, match="offsets"):
        RankedPool.open(stored)
    np.save(stored / "offsets.npy", np.array([0, 3, 3, 4]))
    np.save(stored / "scores.npy", np.zeros(4))  # float64
    with pytest.raises(DataError, match=r"scores.*float64"):
        RankedPool.open(stored)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pool.json", {"format": "distillir.ranked_pool/99"}),
        ("pool.json", ["a list"]),
        ("contexts.json", ["q1_t1", "q1_t1", "q1_t2"]),
        ("contexts.json", {"q1_t1": 0}),
    ],
)
def test_another_format_is_refused(stored, file, content):
    (stored / file).write_text(json.dumps(content))
    with pytest.raises(DataError, match=file):
        RankedPool.open(stored)


def test_pickled_arrays_are_never_loaded(stored):
    np.save(stored / "scores.npy", np.array([object()] * 4), allow_pickle=True)
    with pytest.raises(DataError, match=r"scores\.npy"):
        RankedPool.open(stored)


BUILD = """
import os, sys
import numpy as np
from distillir.errors import DataError
from distillir.sampling import RankedPool, Ranking

def rows(n):
    for i in range(n):
        if i == 500:
            print("half", flush=True)
            if sys.argv[2] == "kill":
                os.kill(os.getpid(), 9)
        yield f"c{i}", Ranking(np.arange(1000), np.zeros(1000, np.float32))

if sys.argv[2] == "full":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    RankedPool.build(rows(1000), sys.argv[1])
except DataError as error:
    print(error)
    sys.exit(3)
"""


def build_elsewhere(folder, how):
    return subprocess.run(
        [sys.executable, "-c", BUILD, str(folder), how],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_killed_build_leaves_no_pool_and_can_be_repeated(tmp_path):
    folder = tmp_path / "pool"
    assert build_elsewhere(folder, "kill").returncode == -signal.SIGKILL
    assert not folder.exists()
    assert build_elsewhere(folder, "finish").returncode == 0
    assert len(RankedPool.open(folder)) == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path):
    result = build_elsewhere(tmp_path / "pool", "full")
    assert result.returncode == 3, result.stderr
    assert "cannot be written" in result.stdout
    assert "make room" in result.stdout
    assert list(tmp_path.iterdir()) == []
