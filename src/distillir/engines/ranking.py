"""Exact rankings of many queries over a store of vectors, in one pass over the documents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SearchIndexError
from distillir.vectors import CSR, SparseVectors

Ranking = list[tuple[str, float]]
_ENTRIES = 1 << 19  # of a block of documents, so that block × queries stays small


def rank(
    vectors: SparseVectors, queries: CSR, k: int, change: Callable[[CSR], CSR] = lambda rows: rows
) -> list[Ranking]:
    """The k best documents of each query by dot product, best first, equal scores by id; none that scores 0.

    Args:
        vectors: the documents.
        queries: (Q,) sparse rows of the same dimensions.
        k: how many.
        change: what is done to the documents first, such as pruning them.
    """
    from scipy.sparse import csr_array

    if queries.indices.size and queries.indices.max() >= vectors.dim:
        raise SearchIndexError(
            f"a query has dimension {queries.indices.max()}, the documents have {vectors.dim}",
            "encode queries and documents with the same vocabulary",
        )
    asked = csr_array((queries.values, queries.indices, queries.indptr), shape=(queries.rows, vectors.dim))
    best = [_Best(k) for _ in range(queries.rows)]
    for start, block in vectors.blocks(_ENTRIES):
        rows = change(block)
        documents = csr_array((rows.values, rows.indices, rows.indptr), shape=(rows.rows, vectors.dim))
        scores = (asked @ documents.T).tocsr()  # (Q, rows of the block)
        for i, kept in enumerate(best):
            span = slice(int(scores.indptr[i]), int(scores.indptr[i + 1]))
            kept.add(scores.indices[span].astype(np.int64) + start, scores.data[span])
    return [kept.ranking(vectors) for kept in best]


class _Best:
    """The rows that may still be among the k best, ties at the end included."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._rows = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float32)
        self._least = np.float32(0)

    def add(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        near = (scores >= self._least) & (scores > 0)
        self._rows = np.concatenate([self._rows, rows[near]])
        self._scores = np.concatenate([self._scores, scores[near]])
        if len(self._rows) > self._k:
            self._least = np.partition(self._scores, -self._k)[-self._k]
            keep = self._scores >= self._least
            self._rows, self._scores = self._rows[keep], self._scores[keep]

    def ranking(self, vectors: SparseVectors) -> Ranking:
        named = zip((vectors.ids[row] for row in self._rows.tolist()), self._scores.tolist(), strict=True)
        return sorted(named, key=lambda hit: (-hit[1], hit[0]))[: self._k]
