"""Round-robin merge of several retrievers' rankings of one context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillir.sampling.ranking import Ranking


def merge_rankings(rankings: Sequence[Ranking | None], depth: int | None = None) -> Ranking:
    """Rank 1 of each, then rank 2 of each …, each document once, where it first appears.

    Args:
        rankings: one per retriever, at most eight; None where that retriever has none.
        depth: documents kept; None keeps all.

    Returns:
        A ranking whose `found_by` has bit r set where `rankings[r]` holds the document, at whatever rank, and whose
        scores are those of the retriever that brought the document.
    """
    present = [(r, ranking) for r, ranking in enumerate(rankings) if ranking is not None]
    retriever = np.concatenate([np.empty(0, np.int64), *(np.full(len(ranking), r) for r, ranking in present)])
    rank = np.concatenate([np.empty(0, np.int64), *(np.arange(len(ranking)) for _, ranking in present)])
    positions = np.concatenate([np.empty(0, np.int64), *(ranking.positions for _, ranking in present)])
    scores = np.concatenate([np.empty(0, np.float32), *(ranking.scores for _, ranking in present)])

    turn = np.lexsort((retriever, rank))  # by rank, then by retriever
    documents, first, which = np.unique(positions[turn], return_index=True, return_inverse=True)
    found_by = np.zeros(len(documents), np.uint8)
    np.bitwise_or.at(found_by, which, np.left_shift(np.uint8(1), retriever[turn].astype(np.uint8)))
    order = np.argsort(first)[:depth]
    return Ranking(documents[order], scores[turn][first[order]], found_by[order])
