"""Several retrievers' rankings of one context as one, by a named rule, each document once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SamplingError
from distillir.sampling.ranking import Ranking

MergeRule = Literal["round_robin", "stratified", "rrf"]
RRF = 60  # Cormack, Clarke and Buettcher, SIGIR 2009


def merge_rankings(
    rankings: Sequence[Ranking | None], depth: int | None = None, rule: MergeRule = "round_robin"
) -> Ranking:
    """Merge the rankings of one context.

    Args:
        rankings: one per retriever, at most eight; None where that retriever has none.
        depth: documents kept; None keeps all.
        rule: "round_robin" takes rank 1 of each, then rank 2 of each …, a document where it first appears.
            "stratified" lets the retrievers take turns, each bringing its best document that is not there yet, so all
            bring equally many however much they agree. "rrf" orders by Σ 1/(60 + rank), ties as in round robin.

    Returns:
        A ranking whose `found_by` has bit r set where `rankings[r]` holds the document, at whatever rank. Its scores
        are those of the retriever that brought the document; under "rrf", the sums.

    Raises:
        SamplingError: an unknown rule.
    """
    check_rule(rule)
    present = [(r, ranking) for r, ranking in enumerate(rankings) if ranking is not None]
    retriever = np.concatenate([np.empty(0, np.int64), *(np.full(len(ranking), r) for r, ranking in present)])
    rank = np.concatenate([np.empty(0, np.int64), *(np.arange(len(ranking)) for _, ranking in present)])
    positions = np.concatenate([np.empty(0, np.int64), *(ranking.positions for _, ranking in present)])
    scores = np.concatenate([np.empty(0, np.float32), *(ranking.scores for _, ranking in present)])

    turn = np.lexsort((retriever, rank))  # by rank, then by retriever
    if rule == "stratified":
        turn = np.concatenate([_taking_turns(retriever[turn], positions[turn], turn), turn])
    documents, first, which = np.unique(positions[turn], return_index=True, return_inverse=True)
    found_by = np.zeros(len(documents), np.uint8)
    np.bitwise_or.at(found_by, which, np.left_shift(np.uint8(1), retriever[turn].astype(np.uint8)))
    brought = scores[turn][first]
    order = np.argsort(first)
    if rule == "rrf":
        brought = np.bincount(which, 1 / (RRF + 1 + rank[turn]), len(documents)).astype(np.float32)
        order = order[np.argsort(-brought[order], kind="stable")]
    order = order[:depth]
    return Ranking(documents[order], brought[order], found_by[order])


def check_rule(rule: str) -> None:
    """Refuse a rule that is none.

    Raises:
        SamplingError: naming those there are.
    """
    if rule not in get_args(MergeRule):
        raise SamplingError(f"no rule {rule!r} to merge by", f"use one of {', '.join(get_args(MergeRule))}")


def _taking_turns(
    retriever: NDArray[np.int64], positions: NDArray[np.int64], turn: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Entries in the order in which retrievers bring them, a document once; all arguments by rank, then retriever."""
    left = {r: np.flatnonzero(retriever == r).tolist()[::-1] for r in np.unique(retriever).tolist()}
    seen: set[int] = set()
    brought: list[int] = []
    while left:
        for r in list(left):
            while left[r] and int(positions[left[r][-1]]) in seen:
                left[r].pop()
            if not left[r]:
                del left[r]
                continue
            entry = left[r].pop()
            seen.add(int(positions[entry]))
            brought.append(int(turn[entry]))
    return np.array(brought, np.int64)
