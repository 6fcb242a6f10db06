"""Exact search over dense vectors: the same as a full sort, in memory and from disk, with a caller's filter."""

import numpy as np
import pytest

from distillir.errors import SearchIndexError
from distillir.index.dense import DenseIndex
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_writer import DenseVectorsWriter

DIM = 5


def store(folder, rows: np.ndarray, similarity: str = "cosine", **options) -> DenseVectors:
    with DenseVectorsWriter(folder, rows.shape[1], "float32", similarity, **options) as writer:
        writer.append([f"d{i}" for i in range(len(rows))], rows)
    return DenseVectors.open(folder)


def rows(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("resident", [0, 1 << 20])
def test_hits_are_those_of_a_full_sort(tmp_path, similarity, resident):
    documents, queries = rows(23), rows(4, seed=9)
    index = DenseIndex(store(tmp_path / "v", documents, similarity, shard_rows=6), resident=resident)
    expected = queries @ documents.T
    if similarity == "cosine":
        expected /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(documents, axis=1)[None]
    for hits, scores in zip(index.search_batch(queries, 30), expected, strict=True):
        assert [hit.id for hit in hits] == [f"d{i}" for i in np.argsort(-scores)]  # all of them, also below zero
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=1e-5)
    assert [hit.id for hit in index.search(queries[0], 3)] == [f"d{i}" for i in np.argsort(-expected[0])[:3]]
    assert index.search_batch(np.empty((0, DIM)), 3) == []
    assert (len(index), index.dim, index.similarity) == (23, DIM, similarity)


def test_scores_under_cosine_do_not_depend_on_the_query_s_length(tmp_path):
    index = DenseIndex(store(tmp_path / "v", np.array([[3.0, 4.0], [4.0, -3.0]])))
    assert [(h.id, round(h.score, 6)) for h in index.search([30.0, 40.0], 2)] == [("d0", 1.0), ("d1", 0.0)]


def test_a_callers_filter_chooses_among_ids(tmp_path):
    documents, query = rows(30), rows(1, seed=3)[0]
    index = DenseIndex(store(tmp_path / "v", documents, "dot", shard_rows=7))
    among = ["d28", "d3", "d3", "d11", "d9"]
    order = sorted({28, 3, 11, 9}, key=lambda i: -float(documents[i] @ query))
    assert [hit.id for hit in index.search(query, 3, among)] == [f"d{i}" for i in order[:3]]
    assert index.search(query, 3, []) == []
    with pytest.raises(SearchIndexError, match="no vector has the id 'x'"):
        index.search(query, 3, ["d1", "x"])


def test_vectors_come_back_by_id(tmp_path):
    documents = rows(4)
    with DenseIndex(store(tmp_path / "v", documents, "dot")) as index:
        np.testing.assert_array_equal(index.vectors(["d3", "d0"]), documents[[3, 0]])
        with pytest.raises(SearchIndexError, match="'x'"):
            index.vectors(["x"])
    index.close()
    with pytest.raises(SearchIndexError, match="closed"):
        index.search(documents[0], 1)


def test_what_cannot_be_searched_is_refused(tmp_path):
    index = DenseIndex(store(tmp_path / "v", rows(3), meta={"encoder": "e1"}))
    for query, k, cause in (
        ([1.0] * 4, 1, "queries of shape"),
        ([np.nan] * DIM, 1, "not a finite number"),
        ([0.0] * DIM, 1, "all zeros"),
        ([1.0] * DIM, 0, "k is 0"),
    ):
        with pytest.raises(SearchIndexError, match=cause):
            index.search(query, k)
    assert DenseIndex.open(tmp_path / "v", dim=DIM, encoder="e1").encoder == "e1"
    with pytest.raises(SearchIndexError, match="width 5, the encoder makes 6"):
        DenseIndex.open(tmp_path / "v", dim=6)
    with pytest.raises(SearchIndexError, match="built by the encoder 'e1', not 'e2'"):
        DenseIndex.open(tmp_path / "v", encoder="e2")
    with pytest.raises(SearchIndexError, match="holds no vectors"):
        DenseIndex.open(tmp_path)
