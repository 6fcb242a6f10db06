"""Uniform over a band of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from distillir.sampling.draw.base import band, check_band, uniform
from distillir.sampling.ranking import Ranking


@dataclass(frozen=True)
class UniformBand:
    """n documents of ranks first…last, all alike, without replacement; all of the band where it has fewer.

    The defaults are DiSCo's (arXiv 2410.14609): the first ten ranks are left out because they hold unjudged relevant
    documents.

    Attributes:
        n: documents drawn.
        first: first rank of the band, 1-based.
        last: last rank of the band, included.

    Raises:
        ConfigError: on a band that is empty or smaller than n.
    """

    n: int = 16
    first: int = 11
    last: int = 960

    name: ClassVar[str] = "uniform_band"

    def __post_init__(self) -> None:
        check_band(self.name, self.n, self.first, self.last)

    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Draw`."""
        return uniform(band(self.name, ranking, self.first, self.last), self.n, rng)
