"""The best ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from distillir.sampling.draw.base import band, check_band
from distillir.sampling.ranking import Ranking


@dataclass(frozen=True)
class Top:
    """Ranks 1…n, the same in every epoch; all of the ranking where it is shorter.

    Attributes:
        n: documents taken.

    Raises:
        ConfigError: when n is below one.
    """

    n: int = 16

    name: ClassVar[str] = "top"

    def __post_init__(self) -> None:
        check_band(self.name, self.n, 1, max(self.n, 1))

    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Draw`; `rng` is left untouched."""
        return band(self.name, ranking, 1, self.n)
