"""Negatives that the contexts of a batch lend each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SamplingError
from distillir.sampling.candidates import Candidates


def shared_block(
    candidates: Sequence[Candidates], *, exclude_other_golds: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Documents scored for every context of the batch beside its own list.

    Args:
        candidates: the lists of the B contexts.
        exclude_other_golds: leave out every document known as gold of any context of the batch, as DiSCo does
            (arXiv 2410.14609); otherwise the golds in the lists serve the other contexts as negatives.

    Returns:
        positions: (S,) int64 ascending, each document once: the union of the drawn negatives.
        allowed: (B, S) bool, False where the document is in the context's own list or among its known golds, whether
            or not that gold was drawn this epoch.

    Raises:
        SamplingError: on an empty batch.
    """
    if not candidates:
        raise SamplingError("no candidate lists to share negatives between", "give at least one context")
    if exclude_other_golds:
        drawn = np.concatenate([c.positions[~c.is_gold] for c in candidates])
        positions = np.setdiff1d(drawn, np.concatenate([c.known_gold for c in candidates]))
    else:
        positions = np.unique(np.concatenate([c.positions for c in candidates]))
    own = (np.concatenate([c.positions, c.known_gold]) for c in candidates)
    return positions, np.stack([~np.isin(positions, mine) for mine in own])
