"""The first of many scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best(scores: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    """Positions of the `depth` highest positive scores, best first, ties by position."""
    found = scores.nonzero()[0]  # zeros first: argpartition slows down on arrays of equal values
    if len(found) > depth:
        values = scores[found]
        least = np.partition(values, len(values) - depth)[len(values) - depth]
        above = found[values > least]
        found = np.concatenate([above, found[values == least][: depth - len(above)]])
    return found[np.lexsort((found, -scores[found]))]
