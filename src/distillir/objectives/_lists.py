"""What every objective over candidate lists does first: check shapes, widen types, mask, order.

B contexts, N listed candidates a context; rows differ in length, `mask` says which candidates are real.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives.contract import Output, Targets

LOWEST = -1e30
"""Stands in for a score that does not exist: its exponential is exactly zero, its gradient is not a NaN."""

By = Literal["order", "scores"]
ByAny = Literal["order", "scores", "gold"]


def wide(tensor: Tensor) -> Tensor:
    """At least float32: a sum of exponentials of half-precision numbers is worth nothing."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def student_scores(name: str, output: Output) -> tuple[Tensor, Tensor]:
    """Scores (B, N) with zeros where not real, so that what is masked neither counts nor gets a gradient, and the mask.

    Raises:
        ObjectiveError: mask and scores of different shapes.
    """
    check_shape(name, "mask", output.mask, output.scores)
    return wide(output.scores).masked_fill(~output.mask, 0.0), output.mask


def shared_scores(name: str, output: Output) -> tuple[Tensor, Tensor] | None:
    """Scores (B, S) of the block the batch shares and where they are allowed, (B, S) bool; None without a block.

    Raises:
        ObjectiveError: mask and scores of different shapes.
    """
    if output.shared is None:
        return None
    allowed = output.shared_mask
    if allowed is None:
        allowed = torch.ones_like(output.shared, dtype=torch.bool)
    check_shape(name, "shared mask", allowed, output.shared)
    return wide(output.shared), allowed


def check_shape(name: str, what: str, actual: Tensor, expected: Tensor) -> None:
    """Refuse a tensor that torch would broadcast into a plausible loss."""
    if actual.shape != expected.shape:
        raise ObjectiveError(
            f"objective {name!r}: {what} {tuple(actual.shape)} beside student {tuple(expected.shape)}",
            "give one number for every candidate or dimension, in the student's order",
        )


def present(name: str, what: str, tensor: Tensor | None) -> Tensor:
    """The tensor, or an error that names the missing field."""
    if tensor is None:
        raise ObjectiveError(
            f"objective {name!r} reads {what}, which is missing",
            "check the pairing before training (check_pairing), or choose another objective",
        )
    return tensor


def teacher_scores(name: str, output: Output, targets: Targets) -> Tensor:
    """Teacher scores (B, N), zeros where not real.

    Raises:
        ObjectiveError: missing, of another shape, or not finite on a real candidate.
    """
    scores = present(name, "targets.scores", targets.scores)
    check_shape(name, "teacher scores", scores, output.scores)
    broken = (~scores.isfinite() & output.mask).any(1)
    if broken.any():
        raise ObjectiveError(
            f"objective {name!r}: teacher scores of {int(broken.sum())} of {len(scores)} contexts are not finite",
            "audit the labels, or mask those candidates",
        )
    return wide(scores).masked_fill(~output.mask, 0.0)


def positions(name: str, output: Output, targets: Targets, by: ByAny, *, gold_first: bool = False) -> Tensor:
    """(B, N) int64 place of each candidate in its own list as the teacher orders it, 0 = best, -1 = not ranked.

    The place is the number of candidates that are strictly better: equal ones share a place.

    Args:
        name: of the objective, for errors.
        output: of the student, for the mask.
        targets: labels.
        by: "order" reads `targets.order`, "scores" reads `targets.scores`, "gold" puts golds before all others.
        gold_first: whether relevant candidates stand above all others, whatever the teacher says.

    Raises:
        ObjectiveError: labels missing or of another shape.
    """
    if by == "scores":
        key, real = -teacher_scores(name, output, targets), output.mask
    elif by == "gold":
        key, real = (~gold_mask(name, output, targets)).to(torch.float64), output.mask
    else:
        order = present(name, "targets.order", targets.order)
        check_shape(name, "teacher order", order, output.scores)
        key, real = order.to(torch.float64), output.mask & (order >= 0)
    if gold_first:
        gold = gold_mask(name, output, targets)
        lowest = torch.where(real, key, torch.inf).amin(1, keepdim=True) if key.shape[1] else key
        key, real = torch.where(gold, lowest - 1, key), real | gold
    better = (key[:, None, :] < key[:, :, None]) & real[:, None, :]  # (B, i, j): j stands above i
    return better.sum(2).masked_fill(~real, -1)


def gold_mask(name: str, output: Output, targets: Targets) -> Tensor:
    """(B, N) bool, True on real relevant candidates."""
    gold = present(name, "targets.gold", targets.gold)
    check_shape(name, "gold", gold, output.scores)
    return gold.bool() & output.mask


def mean_over(rows: Tensor, count: Tensor) -> Tensor:
    """Mean of (B,) or (B, …) terms where `count` is True; zero with zero gradient where nothing counts."""
    return rows.masked_fill(~count, 0.0).sum() / count.sum().clamp(min=1)


def mean_per_row(terms: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B,) of each row's counted terms, and which rows have any."""
    dims = tuple(range(1, terms.ndim))
    number = count.sum(dims)
    return terms.masked_fill(~count, 0.0).sum(dims) / number.clamp(min=1), number > 0
