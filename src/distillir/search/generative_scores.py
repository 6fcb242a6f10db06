"""From the keys that were written for queries to passages and their scores, all queries together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillir.index.coverage import REPEAT, coverage, passage_scores


@dataclass(frozen=True)
class Keys:
    """K keys of some queries, and the M pairs of a key and a passage that holds it.

    Attributes:
        query: (K,) which query each is for. tokens, views: of each. ended: (K,) whether it is a whole text.
        prior, weights: (K,) see `students.key_weights`.
        pair_key, pair_passage: (M,) number of the key, position of the passage; each pair once.
    """

    query: NDArray[np.int64]
    tokens: tuple[tuple[int, ...], ...]
    views: tuple[str, ...]
    ended: NDArray[np.bool_]
    prior: NDArray[np.float64]
    weights: NDArray[np.float64]
    pair_key: NDArray[np.int64]
    pair_passage: NDArray[np.int64]

    def of(self, q: int) -> Keys:
        """Those of one query."""
        mine = np.flatnonzero(self.query == q)
        place = np.full(len(self.query), -1)
        place[mine] = np.arange(len(mine))
        pairs = place[self.pair_key] >= 0
        return Keys(
            self.query[mine],
            tuple(self.tokens[i] for i in mine),
            tuple(self.views[i] for i in mine),
            self.ended[mine],
            self.prior[mine],
            self.weights[mine],
            place[self.pair_key[pairs]],
            self.pair_passage[pairs],
        )


@dataclass(frozen=True)
class Scored:
    """The passages of one query.

    Attributes:
        passages: (P,) positions in the corpus, best first. scores: (P,).
        keys: what found them. factors: (M,) what of a key's weight counts, of each of its pairs.
    """

    passages: NDArray[np.int64]
    scores: NDArray[np.float64]
    keys: Keys
    factors: NDArray[np.float64]

    def pairs_of(self, rank: int) -> NDArray[np.int64]:
        """Pairs of the passage at a rank, 0 = best."""
        return np.flatnonzero(self.keys.pair_passage == self.passages[rank])


def joined(parts: Sequence[Keys]) -> Keys:
    """Keys of several views as one."""
    first = np.cumsum([0, *(len(part.tokens) for part in parts)])
    return Keys(
        np.concatenate([part.query for part in parts]),
        tuple(one for part in parts for one in part.tokens),
        tuple(one for part in parts for one in part.views),
        np.concatenate([part.ended for part in parts]),
        np.concatenate([part.prior for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.pair_key + start for part, start in zip(parts, first[:-1], strict=True)]),
        np.concatenate([part.pair_passage for part in parts]),
    )


def score_keys(keys: Keys, queries: int, passages: int, repeat: float = REPEAT) -> list[Scored]:
    """Score the passages of every query; ties stand in the corpus's order.

    Args:
        keys: of all queries.
        queries: how many. passages: how many the corpus has.
        repeat: see `coverage`.
    """
    # One number a query and passage, so that all queries take one pass.
    both = keys.query[keys.pair_key] * np.int64(passages) + keys.pair_passage
    factors = coverage(both, keys.pair_key, keys.weights, keys.tokens, repeat)
    made = []
    for q in range(queries):
        own = keys.of(q)
        counted = factors[keys.query[keys.pair_key] == q]
        found, scores = passage_scores(own.pair_passage, own.pair_key, own.weights, counted)
        order = np.lexsort((found, -scores))
        made.append(Scored(found[order], scores[order], own, counted))
    return made
