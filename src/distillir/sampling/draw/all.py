"""The whole ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from distillir.sampling.draw.base import band
from distillir.sampling.ranking import Ranking


@dataclass(frozen=True)
class All:
    """Every document of the ranking, as for pools that are themselves the list (TWOLAR's 30, arXiv 2403.17759)."""

    n: ClassVar[None] = None
    name: ClassVar[str] = "all"

    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Draw`; `rng` is left untouched."""
        return band(self.name, ranking, 1, max(len(ranking), 1))
