"""What all draws share: the protocol, bands of ranks, and weighted draws without replacement."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from distillir.errors import ConfigError, SamplingError
from distillir.sampling.ranking import Ranking


class Draw(Protocol):
    """Chooses documents of a ranking.

    Attributes:
        name: the draw's name in recipes.
        n: documents it returns; fewer where the ranking has fewer to offer; None for all.
    """

    name: ClassVar[str]

    @property
    def n(self) -> int | None: ...
    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices into the ranking, ascending, each once.

        Raises:
            SamplingError: when the ranking has no document to offer.
        """
        ...


def check_band(draw: str, n: int, first: int, last: int) -> None:
    """Refuse counts and bands of ranks that cannot be meant.

    Raises:
        ConfigError: unless n ≥ 1, 1 ≤ first ≤ last and the band has room for n.
    """
    if n < 1:
        raise ConfigError(f"{draw}: n is {n}", "draw at least one document")
    if not 1 <= first <= last:
        raise ConfigError(f"{draw}: the band is {first} to {last}", "ranks are 1-based and the first is the smaller")
    if last - first + 1 < n:
        raise ConfigError(f"{draw}: ranks {first} to {last} cannot give {n} documents", "widen the band or lower n")


def band(draw: str, ranking: Ranking, first: int, last: int) -> NDArray[np.int64]:
    """Indices of ranks first…last, both included, as far as the ranking reaches.

    Raises:
        SamplingError: when it does not reach the first.
    """
    if len(ranking) < first:
        raise SamplingError(
            f"{draw}: ranks {first} to {last} are empty, the ranking has {len(ranking)} documents",
            "retrieve deeper, start the band at a better rank, or leave the context out",
        )
    return np.arange(first - 1, min(last, len(ranking)), dtype=np.int64)


def weighted(
    indices: NDArray[np.int64], weights: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n indices one after another, each time with probability ∝ weight among those left; ascending.

    Exponential clocks of rate `weight` ring in exactly that order of probability, so the n earliest are the draw.
    """
    clocks = rng.standard_exponential(len(indices)) / weights
    return np.sort(indices[np.argsort(clocks, kind="stable")[:n]])


def uniform(indices: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw n indices, all alike, without replacement; ascending."""
    return weighted(indices, np.ones(len(indices)), n, rng)
