"""So many of each of several bands of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from distillir.errors import ConfigError
from distillir.sampling.draw.base import band, check_band, uniform
from distillir.sampling.ranking import Ranking


@dataclass(frozen=True)
class Bands:
    """Uniform draws without replacement from each band; a band that reaches past the ranking gives what it has.

    Attributes:
        bands: (count, first, last) of each band, ranks 1-based and included, best band first, none overlapping.

    Raises:
        ConfigError: on a band that is empty, smaller than its count, out of order or overlapping another.
    """

    bands: tuple[tuple[int, int, int], ...] = ((4, 1, 10), (5, 11, 100), (8, 101, 960))

    name: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        # Recipes are YAML, which has lists only; tuples keep the draw hashable.
        object.__setattr__(self, "bands", tuple(tuple(one) for one in self.bands))
        if not self.bands or any(len(one) != 3 for one in self.bands):
            raise ConfigError(f"{self.name}: {self.bands!r} are not bands", "give (count, first, last) for each")
        for count, first, last in self.bands:
            check_band(self.name, count, first, last)
        for (_, _, last), (_, first, _) in pairwise(self.bands):
            if first <= last:
                raise ConfigError(f"{self.name}: a band ends at {last}, the next starts at {first}", "separate them")

    @property
    def n(self) -> int:
        """Documents drawn from all bands together."""
        return sum(count for count, _, _ in self.bands)

    def __call__(self, ranking: Ranking, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `Draw`; raises only where the ranking does not reach the first band."""
        band(self.name, ranking, *self.bands[0][1:])
        within = [one for one in self.bands if one[1] <= len(ranking)]
        return np.concatenate([uniform(band(self.name, ranking, a, b), count, rng) for count, a, b in within])
