"""The teacher's own retrieval: which documents it ranks for each context, and its scores of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.sampling import RankedPool, Ranking
from distillir.vectors import CSR, SparseVectors


def teacher_pool(
    names: Sequence[str], queries: CSR, documents: SparseVectors, *, depth: int = 1000, folder: str | Path | None = None
) -> RankedPool:
    """Rank a candidate corpus for every context by the teacher's vector.

    Args:
        names: context ids. queries: the teacher's vector of each.
        documents: vectors of the candidate corpus; positions in the pool are its rows.
        depth: documents kept a context.
        folder: where to keep the pool; None = in memory.
    """
    return RankedPool.build(_rankings(names, queries, documents, depth), folder, retriever="teacher")


def best(scores: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    """Positions of the `depth` highest positive scores, best first, ties by position."""
    found = scores.nonzero()[0]  # zeros first: argpartition slows down on arrays of equal values
    if len(found) > depth:
        found = found[np.argpartition(-scores[found], depth - 1)[:depth]]
    return found[np.lexsort((found, -scores[found]))]


def _rankings(
    names: Sequence[str], queries: CSR, documents: SparseVectors, depth: int
) -> Iterator[tuple[str, Ranking]]:
    postings = documents.invert()
    for i, name in enumerate(names):
        scores = postings.scores(*queries.row(i))
        top = best(scores, depth)
        yield name, Ranking(top, scores[top])
