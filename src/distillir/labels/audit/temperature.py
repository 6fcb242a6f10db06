"""The temperature at which a teacher holds a given number of documents: `objectives.temperature`, without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 36  # of a range of e^25, to a relative 4e-10
MARGIN = 0.05


def effective_documents(scores: NDArray[np.floating], tau: float = 1.0) -> float:
    """exp(entropy) of softmax(scores/τ): 1 when one document has all the mass, N when all share it."""
    x = np.asarray(scores, np.float64) / tau
    x = x - x.max()
    log_p = x - np.log(np.exp(x).sum())
    return float(np.exp(-(np.exp(log_p) * log_p).sum()))


def entropy_temperature(scores: NDArray[np.floating], target: float) -> float | None:
    """τ at which softmax(scores/τ) has `target` effective documents, by bisection on log τ.

    With k equal best scores among n the target is first brought into [k·(n/k)^.05, n·(k/n)^.05]. None for fewer than
    two candidates and for constant scores, where no τ follows.

    Args:
        scores: (N,).
        target: effective documents, above 1.
    """
    x = np.asarray(scores, np.float64)
    n, k = len(x), int((x == x.max()).sum()) if len(x) else 0
    if n < 2 or k == n:
        return None
    spread = float(x.max() - x.min())
    aim = float(np.clip(target, k * (n / k) ** MARGIN, n * (k / n) ** MARGIN))
    low, high = np.log(spread * 1e-7), np.log(spread * 1e4)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if effective_documents(x, float(np.exp(middle))) > aim else (middle, high)
    return float(np.exp((low + high) / 2))
