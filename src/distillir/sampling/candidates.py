"""The candidate list of one context: golds first, then negatives drawn from its ranking."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import ConfigError, SamplingError
from distillir.sampling.draw.base import Draw
from distillir.sampling.pool import RankedPool
from distillir.sampling.ranking import Ranking
from distillir.sampling.rng import generator

GoldPolicy = Literal["one", "all", "none"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the student scores for one context.

    Attributes:
        positions: (N,) int64 rows of the corpus, each once, golds first.
        is_gold: (N,) bool.
        ranks: (N,) int64, 1-based rank in the pool, 0 for a gold that the pool does not hold.
        known_gold: (G,) int64 ascending, all golds of the context, in the list or not.
    """

    positions: NDArray[np.int64]
    is_gold: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    known_gold: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)


def draw_candidates(
    ranking: Ranking,
    golds: ArrayLike,
    draw: Draw,
    rng: np.random.Generator,
    *,
    gold: GoldPolicy = "one",
    pseudo_gold: bool = False,
) -> Candidates:
    """Draw one context's list.

    A drawn document that is a known gold never counts as a negative: it leaves the list, which is then that much
    shorter, unless the policy put it in front. The negatives do not depend on the gold policy.

    Args:
        ranking: the context's documents, best first.
        golds: positions of the relevant documents; empty where none is known.
        draw: which ranks become negatives.
        rng: see `generator`.
        gold: "one" puts one gold, drawn anew each epoch, in front (DiSCo, arXiv 2410.14609); "all" puts all of them;
            "none" ignores them: the list is what was drawn, and nothing in it is marked.
        pseudo_gold: take rank 1 as the gold of a context that has none.

    Raises:
        SamplingError: when the draw finds no document, or golds are not positions.
        ConfigError: on an unknown policy, or pseudo golds under "none".
    """
    check_gold_policy(gold, pseudo_gold)
    drawn = draw(ranking, rng)
    known = np.empty(0, np.int64) if gold == "none" else _positions(golds)
    if pseudo_gold and not len(known):
        known = ranking.positions[:1].copy()
    front = known
    if gold == "one" and len(known) > 1:
        front = known[int(rng.integers(len(known)))][None]
    negatives = drawn[~np.isin(ranking.positions[drawn], known)]
    return Candidates(
        positions=np.concatenate([front, ranking.positions[negatives]]),
        is_gold=np.arange(len(front) + len(negatives)) < len(front),
        ranks=np.concatenate([_ranks(ranking, front), negatives + 1]),
        known_gold=known,
    )


@dataclass(frozen=True)
class CandidateSampler:
    """A pool, a draw and a gold policy under one seed.

    Attributes:
        pool: rankings by context id.
        draw: which ranks become negatives.
        seed: seed of the run; with epoch and context id it decides every list, so neither a resumed run nor another
            number of processes changes one.
        gold: see `draw_candidates`.
        pseudo_gold: see `draw_candidates`.
    """

    pool: RankedPool
    draw: Draw
    seed: int = 0
    gold: GoldPolicy = "one"
    pseudo_gold: bool = False

    def __post_init__(self) -> None:
        check_gold_policy(self.gold, self.pseudo_gold)

    def __call__(self, context_id: str, golds: ArrayLike, epoch: int) -> Candidates:
        """The list of one context in one epoch; errors name the context."""
        try:
            rng = generator(self.seed, epoch, context_id)
            return draw_candidates(
                self.pool[context_id], golds, self.draw, rng, gold=self.gold, pseudo_gold=self.pseudo_gold
            )
        except SamplingError as error:
            raise SamplingError(f"context {context_id!r}: {error.cause}", error.cure) from error


def gold_share(contexts: Iterable[tuple[str, Sized]]) -> dict[str, float]:
    """Share of contexts that have a gold, by source.

    Args:
        contexts: (source, golds) of each context, golds of any kind; a source is the data set or log it came from.

    Returns:
        Source to a share in [0, 1], sources in order of first appearance.
    """
    counts: dict[str, tuple[int, int]] = {}
    for source, golds in contexts:
        with_gold, total = counts.get(source, (0, 0))
        counts[source] = (with_gold + (len(golds) > 0), total + 1)
    return {source: with_gold / total for source, (with_gold, total) in counts.items()}


def check_gold_policy(gold: str, pseudo_gold: bool) -> None:
    """Refuse an unknown policy and one that contradicts pseudo golds.

    Raises:
        ConfigError: naming the option.
    """
    if gold not in get_args(GoldPolicy):
        raise ConfigError(f"gold is {gold!r}", f"choose one of {', '.join(get_args(GoldPolicy))}")
    if pseudo_gold and gold == "none":
        raise ConfigError(
            "pseudo_gold asks for golds that gold='none' ignores", "choose gold='one', or no pseudo golds"
        )


def _positions(golds: ArrayLike) -> NDArray[np.int64]:
    values = np.asarray(golds)
    if values.size == 0:
        return np.empty(0, np.int64)
    if values.ndim != 1 or values.dtype.kind not in "iu" or int(values.min()) < 0:
        raise SamplingError(f"golds are {golds!r}", "give the corpus positions of the relevant documents")
    return np.unique(values.astype(np.int64))


def _ranks(ranking: Ranking, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    hits = ranking.positions[None, :] == positions[:, None]  # (G, N)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int64)
