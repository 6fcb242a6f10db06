"""KL divergence between the teacher's and the student's softmax over a list (DiSCo, arXiv 2410.14609, eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillir.errors import ConfigError, ObjectiveError
from distillir.objectives.checks import lists
from distillir.objectives.contract import Output, Targets

_BISECTIONS = 60
_LOWEST, _HIGHEST = 1e-4, 1e4


def kld(student: Tensor, teacher: Tensor, mask: Tensor, tau: Tensor | float = 1.0) -> Tensor:
    """Mean over contexts of KL(p_T ‖ p_S), p = softmax(s / τ) over the listed candidates.

    Args:
        student, teacher: (B, N) scores. mask: (B, N) bool.
        tau: temperature of both sides, one number or (B, 1).

    Returns:
        Scalar, float32. Rows with fewer than two candidates have nothing to order and do not count.

    Raises:
        ObjectiveError: shapes that differ, or teacher scores that are not finite.
    """
    student, teacher, mask = lists(student, teacher, mask)
    log_t = torch.log_softmax((teacher / tau).masked_fill(~mask, -torch.inf), dim=1)
    log_s = torch.log_softmax((student / tau).masked_fill(~mask, -torch.inf), dim=1)
    gap = (log_t - log_s).masked_fill(~mask, 0.0)
    rows = (log_t.exp().masked_fill(~mask, 0.0) * gap).sum(1)  # (B,)
    counts = mask.sum(1) > 1
    return torch.where(counts, rows, 0.0).sum() / counts.sum().clamp(min=1)


def temperature_for(teacher: Tensor, mask: Tensor, documents: float) -> Tensor:
    """Temperature per row at which the teacher's softmax has `documents` effective documents, exp(entropy).

    Args:
        teacher: (B, N) scores. mask: (B, N) bool. documents: more than 1; capped below the list's length.

    Returns:
        (B, 1) temperatures, by bisection on log τ: entropy rises with τ.

    Raises:
        ObjectiveError: rows whose scores are all equal, which no temperature can sharpen.
    """
    real = teacher.float().masked_fill(~mask, -torch.inf)
    top = real.amax(1, keepdim=True)
    flat = (real.masked_fill(~mask, torch.inf).amin(1) == top.squeeze(1)) & (mask.sum(1) > 1)
    if flat.any():
        raise ObjectiveError(
            f"{int(flat.sum())} of {len(teacher)} contexts have equal teacher scores for all candidates",
            "use a fixed tau, or drop these contexts (audit the labels)",
        )
    goal = torch.minimum(torch.full_like(top, documents), mask.sum(1, keepdim=True) * 0.99).clamp(min=1.0).log()
    low, high = torch.full_like(top, _LOWEST).log(), torch.full_like(top, _HIGHEST).log()
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        log_p = torch.log_softmax((real - top) / middle.exp(), dim=1)
        entropy = -(log_p.exp() * log_p.masked_fill(~mask, 0.0)).sum(1, keepdim=True)
        low, high = torch.where(entropy < goal, middle, low), torch.where(entropy < goal, high, middle)
    return ((low + high) / 2).exp()


@dataclass(frozen=True)
class KLD:
    """`kld` as an objective.

    Attributes:
        tau: fixed temperature; 0 = per context from `effective_documents`.
        effective_documents: with tau = 0, exp(entropy) the teacher's softmax is brought to.
    """

    tau: float = 1.0
    effective_documents: float = 4.0

    name: ClassVar[str] = "kld"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __post_init__(self) -> None:
        if self.tau < 0 or self.effective_documents <= 1:
            raise ConfigError(
                f"kld: tau {self.tau}, effective_documents {self.effective_documents}",
                "give tau > 0, or tau 0 with effective_documents > 1",
            )

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        """Scalar loss."""
        teacher = targets.scores
        assert teacher is not None  # check_pairing refused it before step 0
        tau = self.tau or temperature_for(teacher, output.mask, self.effective_documents)
        return kld(output.scores, teacher, output.mask, tau)
