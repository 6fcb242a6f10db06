"""Search in two phases: a query's heavy terms find candidates, all of its terms score them.

The postings of light terms are long and decide little. The first phase leaves them out and hands on a window of
documents, some times as many as are asked for; the second scores these by the whole query. So scores are those of a
search in one phase, and a document is missed that the light terms alone would have brought among the best.

Names and defaults are those of OpenSearch's `neural_sparse_two_phase_processor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import ConfigError

_LEAST_WINDOW, _MOST_WINDOW = 50, 1_000_000


@dataclass(frozen=True)
class TwoPhase:
    """How a search is split.

    Attributes:
        prune_ratio: terms below this share of the query's largest weight wait for the second phase; 0 = none does,
            which is a search in one phase.
        expansion_rate: documents that the first phase hands on, for each that is asked for.
        max_window_size: of them at most. OpenSearch and Elasticsearch take 10,000 (`index.max_rescore_window`).
    """

    prune_ratio: float = 0.4
    expansion_rate: float = 5.0
    max_window_size: int = 10_000

    def __post_init__(self) -> None:
        if not _number(self.prune_ratio) or not 0 <= self.prune_ratio < 1:
            raise ConfigError(
                f"two phases: prune_ratio is {self.prune_ratio!r}", "use a share from 0 up to, not including, 1"
            )
        if not _number(self.expansion_rate) or not 1 <= self.expansion_rate <= 10_000:
            raise ConfigError(f"two phases: expansion_rate is {self.expansion_rate!r}", "use 1 to 10,000")
        most = self.max_window_size
        if isinstance(most, bool) or not isinstance(most, int) or not _LEAST_WINDOW <= most <= _MOST_WINDOW:
            raise ConfigError(f"two phases: max_window_size is {most!r}", f"use {_LEAST_WINDOW} to {_MOST_WINDOW:,}")

    def window(self, size: int) -> int:
        """Documents that the first phase hands on where `size` are asked for, `size` at least."""
        return max(size, min(int(size * self.expansion_rate), self.max_window_size))


def heavy(weights: ArrayLike, prune_ratio: float) -> NDArray[np.bool_]:
    """Which of a query's terms the first phase searches for; the second takes all.

    Args:
        weights: (N,), none negative.
        prune_ratio: see `TwoPhase`.

    Returns:
        (N,) whether a weight is at least `prune_ratio` times the largest, in float32 as engines compare.
    """
    values = np.asarray(weights, np.float32)
    least = np.float32(prune_ratio) * values.max(initial=np.float32(0))
    return np.asarray(values >= least, np.bool_)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
