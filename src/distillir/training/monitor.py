"""Watches a run and stops it, with a named cause, before hours are lost."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from distillir.errors import CollapseError

ALL_ON = 0.5  # share of the vocabulary: no SPLADE model in use comes near a tenth of it
PATIENCE = 10  # steps in a row; a single odd batch is not a collapse


@dataclass
class Monitor:
    """Collapse checks, fed once an optimiser step.

    Attributes:
        recent: the last losses, for the progress line.
    """

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _on: int = 0
    _off: int = 0

    def check(self, step: int, loss: float, norm: float, active: float | None = None, dim: int = 0) -> None:
        """Raise when a run cannot recover.

        Args:
            step: optimiser step, from 1.
            loss: of this step.
            norm: gradient norm before clipping.
            active: mean active dimensions of the step's contexts, if the student has sparse representations.
            dim: V of the representations.

        Raises:
            CollapseError: a loss or gradient that is not a number; all dimensions on; all off.
        """
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"loss {loss}" if not math.isfinite(loss) else f"gradient norm {norm}"
            raise CollapseError(
                f"step {step}: {what}", "lower lr, train in fp32 or bf16, and audit the teacher scores of this batch"
            )
        self.recent.append(loss)
        if active is None:
            return
        self._on = self._on + 1 if active > ALL_ON * dim else 0
        self._off = self._off + 1 if active < 1 else 0
        if self._on >= PATIENCE:
            raise CollapseError(
                f"step {step}: {active:.0f} of {dim} dimensions are active for {PATIENCE} steps (all on)",
                "start from a checkpoint trained for sparse retrieval, lower lr, or add an l1 or flops penalty",
            )
        if self._off >= PATIENCE:
            raise CollapseError(
                f"step {step}: under one active dimension a query for {PATIENCE} steps (all off)",
                "raise the temperature (the teacher's scores spread wider than τ), lower the penalty or lr",
            )

    @property
    def loss(self) -> float:
        """Mean of the recent losses."""
        return sum(self.recent) / max(1, len(self.recent))


def active_dimensions(vectors: Tensor | None) -> float | None:
    """Mean number of non-zero entries a row of (B, V); None without vectors, or where they are dense ones, which
    show by their negative entries."""
    if vectors is None or not vectors.numel() or bool((vectors < 0).any()):
        return None
    return float((vectors > 0).sum(1).float().mean())
