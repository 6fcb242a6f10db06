"""Better ranks more often: probability ∝ 1/rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from distillir.sampling.draw.base import band, check_band, weighted
from distillir.sampling.ranking import Ranking


@dataclass(frozen=True)
class LogUniform:
    """n documents of ranks first…last without replacement, each next one with probability ∝ 1/rank among those left.

    The logarithm of the rank is then about uniform: ranks 10–100 are drawn about as often as 100–1000. All of the
    band where it has fewer than n.

    Attributes:
        n: documents drawn.
        first: first rank of the band, 1-based.
        last: last rank of the band, included.

    Raises:
        ConfigError: on a band that is empty or smaller than n.
    """

    n: int = 16
    first: int = 1
    last: int = 960

    name: ClassVar[str] = "log_uniform"

    def __post_init__(self) -> None:
        check_band(self.name, self.n, self.first, self.last)

    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Draw`."""
        indices = band(self.name, ranking, self.first, self.last)
        return weighted(indices, 1.0 / (indices + 1), self.n, rng)
