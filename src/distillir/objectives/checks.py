"""Refusals that every list objective shares."""

from __future__ import annotations

import torch
from torch import Tensor

from distillir.errors import ObjectiveError


def lists(student: Tensor, teacher: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Student and teacher scores in float32 under one mask, padding set to zero.

    Raises:
        ObjectiveError: widths that differ (broadcasting would train towards uniform at a plausible loss), or
            teacher scores that are not finite.
    """
    if student.shape != teacher.shape or student.shape != mask.shape or student.ndim != 2:
        raise ObjectiveError(
            f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, mask {tuple(mask.shape)}",
            "give three (B, N) tensors",
        )
    teacher = teacher.float().masked_fill(~mask, 0.0)
    if not torch.isfinite(teacher).all():
        row = int((~torch.isfinite(teacher)).any(1).nonzero()[0])
        raise ObjectiveError(f"teacher scores of row {row} are not finite", "audit the labels of this context")
    return student.float().masked_fill(~mask, 0.0), teacher, mask
