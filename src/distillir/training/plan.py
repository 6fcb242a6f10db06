"""Which contexts meet in which batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BUCKET = 16  # batches sorted by length together: little padding, yet new company every epoch


def batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Batches of context numbers for one epoch, a function of its arguments alone.

    Contexts are shuffled, sorted by length inside groups of `BUCKET` batches, cut into batches, and
    the batches are shuffled.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    sizes = np.asarray(lengths)
    group = batch_size * BUCKET
    cut: list[list[int]] = []
    for start in range(0, len(order), group):
        part = order[start : start + group]
        part = part[np.argsort(sizes[part], kind="stable")]
        cut += [part[i : i + batch_size].tolist() for i in range(0, len(part), batch_size)]
    return [cut[i] for i in rng.permutation(len(cut))]
