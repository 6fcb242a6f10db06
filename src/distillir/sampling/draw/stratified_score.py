"""Equal shares of the teacher's score mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from distillir.errors import ConfigError, SamplingError
from distillir.sampling.draw.base import band, check_band, uniform
from distillir.sampling.ranking import Ranking


@dataclass(frozen=True)
class StratifiedScore:
    """n documents of ranks first…last, equally many from each of `strata` slices of equal score mass.

    The mass of a document is its score above the band's lowest, which no shift or scale of the scores changes. Best
    documents weigh most, so upper strata hold few documents and lower ones many. Where a stratum has fewer documents
    than its share, the missing ones are drawn alike from the rest of the band; all of the band where it has fewer
    than n.

    Attributes:
        n: documents drawn.
        strata: slices; n is a multiple of it.
        first: first rank of the band, 1-based.
        last: last rank of the band, included.

    Raises:
        ConfigError: on a band that is empty or smaller than n, or n that the strata do not divide.
    """

    n: int = 16
    strata: int = 16
    first: int = 1
    last: int = 960

    name: ClassVar[str] = "stratified_score"

    def __post_init__(self) -> None:
        check_band(self.name, self.n, self.first, self.last)
        if self.strata < 1 or self.n % self.strata:
            raise ConfigError(f"{self.name}: {self.strata} strata do not divide n = {self.n}", "make n a multiple")

    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Draw`.

        Raises:
            SamplingError: also on a merged ranking, whose scores are on several scales.
        """
        if ranking.found_by is not None:
            raise SamplingError(
                f"{self.name}: the scores of a merged ranking come from several retrievers",
                "score the pool with one teacher first, or draw by rank",
            )
        indices = band(self.name, ranking, self.first, self.last)
        stratum = self.assign(ranking.scores[indices])
        share = self.n // self.strata
        drawn = np.concatenate([uniform(indices[stratum == k], share, rng) for k in range(self.strata)])
        rest = np.setdiff1d(indices, drawn)
        return np.sort(np.concatenate([drawn, uniform(rest, self.n - len(drawn), rng)]))

    def assign(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Stratum of each document, 0 = best: the slice in which the middle of its mass lies.

        Args:
            scores: (N,) finite scores, in any order.
        """
        mass = scores.astype(np.float64) - float(scores.min())
        if not mass.any():
            mass[:] = 1.0
        order = np.argsort(-mass, kind="stable")
        middle = np.cumsum(mass[order]) - mass[order] / 2
        stratum = np.empty(len(scores), np.int64)
        stratum[order] = np.minimum(middle / mass.sum() * self.strata, self.strata - 1).astype(np.int64)
        return stratum
