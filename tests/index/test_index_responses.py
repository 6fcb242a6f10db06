"""The index of responses: what is found is what a matrix product finds, whatever is added, withdrawn or closed."""

import subprocess
import sys

import numpy as np
import pytest

from distillir.errors import SearchIndexError
from distillir.index.responses import ResponseIndex

DIM = 64
KILLED = """
import os, sys, numpy as np
from distillir.index.responses import ResponseIndex
index = ResponseIndex(sys.argv[1])
index.add(["new"], ["said at last"], np.full((1, 4), 0.5))
index.withdraw(["old"])
os.kill(os.getpid(), 9)
"""


def rows(count: int, seed: int, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def names(count: int) -> list[str]:
    return [f"r{i}" for i in range(count)]


def test_few_responses_are_found_exactly(tmp_path):
    vectors, queries = rows(50, 1), rows(7, 2)
    with ResponseIndex.create(tmp_path / "index", DIM, encoder="e") as index:
        index.add(names(50), [f"said {i}" for i in range(50)], vectors)
        found = index.search_batch(queries, 5)
        for query, one in zip(queries, found, strict=True):
            order = np.argsort(-(vectors @ query))[:5]
            assert [hit.id for hit in one] == [f"r{i}" for i in order]
            np.testing.assert_allclose([hit.score for hit in one], (vectors @ query)[order], rtol=1e-4, atol=1e-4)
            assert [hit.text for hit in one] == [f"said {i}" for i in order]
        assert index.search(queries[0], 5) == found[0]
        assert (len(index), index.encoder, index.search_batch(np.empty((0, DIM)), 3)) == (50, "e", [])
        assert len(index.search(queries[0], 500)) == 50


def test_the_graph_finds_nearly_all_of_many(tmp_path):
    vectors, queries = rows(6000, 3), rows(50, 4)
    with ResponseIndex.create(tmp_path / "index", DIM) as index:
        index.add(names(6000), names(6000), vectors)
        index.optimize()
        true = [{f"r{i}" for i in best} for best in np.argsort(-(queries @ vectors.T), axis=1)[:, :10]]
        exact = index.search_batch(queries, 10, exact=True)
        assert [{hit.id for hit in one} for one in exact] == true
        near = index.search_batch(queries, 10)
        shared = [len({hit.id for hit in one} & best) / 10 for one, best in zip(near, true, strict=True)]
        assert np.mean(shared) > 0.95


def test_responses_come_go_and_are_replaced_at_run_time(tmp_path):
    with ResponseIndex.create(tmp_path / "index", 2) as index:
        index.add(["a", "b"], ["A", "B"], [[1, 0], [0, 1]])
        index.withdraw(["a", "never there"])
        assert [hit.id for hit in index.search([1, 0.5], 5)] == ["b"]
        index.add(["c", "b"], ["C", "new B"], [[2, 0], [0, 3]])
        assert [(hit.text, hit.score) for hit in index.search([1, 1], 5)] == [("new B", 3.0), ("C", 2.0)]
        index.add([], [], [])
        index.withdraw([])
        assert len(index) == 2


def test_filters_and_payloads(tmp_path):
    with ResponseIndex.create(tmp_path / "index", 2) as index:
        payloads = [{"origins": ["gold", "m"], "tone": "kind"}, {"origins": ["m"]}, {"origins": ["gold"]}]
        index.add(["a", "b", "c"], ["A", "B", "C"], [[3, 0], [2, 0], [1, 0]], payloads)
        assert [hit.id for hit in index.search([1, 0], 5, {"origins": "gold"})] == ["a", "c"]
        assert [hit.payload for hit in index.search([1, 0], 1)] == [payloads[0]]
        assert index.search([1, 0], 5, {"origins": "m", "tone": "rude"}) == []


def test_equal_and_negative_scores_are_kept_in_order(tmp_path):
    with ResponseIndex.create(tmp_path / "index", 2) as index:
        index.add(["b", "a", "c"], ["B", "A", "C"], [[-1, 0], [-1, 0], [-2, 0]])
        assert [(hit.id, hit.score) for hit in index.search([1, 0], 3)] == [("a", -1), ("b", -1), ("c", -2)]


def test_what_was_acknowledged_survives_a_kill_and_a_folder_is_opened_once(tmp_path):
    folder = tmp_path / "index"
    with ResponseIndex.create(folder, 4) as index:
        index.add(["old"], ["said before"], np.ones((1, 4)))
        with pytest.raises(SearchIndexError):
            ResponseIndex(folder)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    with ResponseIndex(folder) as index:
        assert [hit.text for hit in index.search(np.ones(4), 5)] == ["said at last"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((["a"], ["A"], [[1.0, np.nan]]), "finite"),
        ((["a"], ["A"], [[1.0, 2.0, 3.0]]), "width 2"),
        ((["a", "b"], ["A"], [[1.0, 2.0]]), "one of each"),
        ((["a", "a"], ["A", "B"], [[1.0, 2.0]] * 2), "twice"),
        (([""], ["A"], [[1.0, 2.0]]), "not an id"),
        ((["a"], ["A"], [[1.0, 2.0]], [{}, {}]), "one of each"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path, given, why):
    with ResponseIndex.create(tmp_path / "index", 2) as index:
        with pytest.raises(SearchIndexError, match=why):
            index.add(*given)
        assert len(index) == 0


def test_queries_folders_and_closed_indexes_are_refused(tmp_path):
    with pytest.raises(SearchIndexError, match="no index"):
        ResponseIndex(tmp_path / "nothing")
    index = ResponseIndex.create(tmp_path / "index", 2)
    for query, k, why in (([1, np.inf], 1, "finite"), ([1, 2, 3], 1, "width 2"), ([1, 2], 0, "k is 0")):
        with pytest.raises(SearchIndexError, match=why):
            index.search(query, k)
    index.close()
    index.close()
    with pytest.raises(SearchIndexError, match="closed"):
        index.search([1, 2], 1)
    with pytest.raises(SearchIndexError, match="not empty"):
        ResponseIndex.create(tmp_path / "index", 2)
    with pytest.raises(SearchIndexError, match="width 0"):
        ResponseIndex.create(tmp_path / "other", 0)
    (tmp_path / "index" / "responses.json").write_text("{}")
    with pytest.raises(SearchIndexError, match="unreadable"):
        ResponseIndex(tmp_path / "index")
