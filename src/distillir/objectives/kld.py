"""Kullback–Leibler divergence from the student's distribution over a list to the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives._lists import LOWEST, mean_over, student_scores, teacher_scores, wide
from distillir.objectives.contract import Output, Targets
from distillir.objectives.temperature import entropy_temperature


def kl_divergence(student: Tensor, teacher: Tensor, mask: Tensor, tau: Tensor | float = 1.0) -> Tensor:
    """KL(p_T ‖ p_S) of each row, p = softmax(s/τ) over its real candidates.

    Args:
        student: (B, N) scores.
        teacher: (B, N) scores.
        mask: (B, N) bool.
        tau: one temperature, or (B,).

    Returns:
        (B,) divergences in nats, float32; zero on rows of fewer than two candidates.
    """
    if isinstance(tau, Tensor):
        tau = tau[:, None].to(wide(student).dtype)
    log_s = torch.log_softmax((wide(student) / tau).masked_fill(~mask, LOWEST), dim=1)
    log_t = torch.log_softmax((wide(teacher) / tau).masked_fill(~mask, LOWEST), dim=1)
    return (log_t.exp() * (log_t - log_s)).masked_fill(~mask, 0.0).sum(1)


@dataclass(frozen=True)
class KLD:
    """L = mean over contexts of KL(p_T ‖ p_S), p = softmax(s/τ) over the context's candidates.

    Teacher and student share the temperature and nothing is multiplied by τ², so the gradient shrinks as 1/τ. Contexts
    of fewer than two candidates do not count. DiSCo (arXiv 2410.14609) uses τ = 1.

    Attributes:
        tau: temperature, or "entropy": per context, the one at which the teacher has `effective_documents`.
        effective_documents: exp(entropy) of the teacher's distribution that "entropy" aims at.

    Raises:
        ObjectiveError: teacher scores that are not finite or of another width; with "entropy", constant ones.
    """

    name: ClassVar[str] = "kld"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"scores"})

    tau: float | Literal["entropy"] = 1.0
    effective_documents: float = 4.0

    def __post_init__(self) -> None:
        check_temperature(self.name, self.tau, self.effective_documents)

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        student, mask = student_scores(self.name, output)
        teacher = teacher_scores(self.name, output, targets)
        tau = entropy_temperature(teacher, mask, self.effective_documents) if self.tau == "entropy" else self.tau
        return mean_over(kl_divergence(student, teacher, mask, tau), mask.sum(1) >= 2)


def check_temperature(name: str, tau: float | str, effective: float = 2.0) -> None:
    """Refuse a temperature that is not positive, or an effective number of documents of one or less."""
    if tau != "entropy" and (isinstance(tau, str) or not 0 < tau < float("inf")):
        raise ObjectiveError(f"objective {name!r}: temperature {tau!r}", "give a positive number")
    if not 1 < effective < float("inf"):
        raise ObjectiveError(f"objective {name!r}: {effective} effective documents", "give a number above 1")
