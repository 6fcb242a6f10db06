"""Kullback–Leibler divergence from the student's distribution over a list to the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives._lists import LOWEST, mean_over, shared_scores, student_scores, teacher_scores, wide
from distillir.objectives.contract import Output, Targets
from distillir.objectives.temperature import entropy_temperature


def kl_divergence(
    student: Tensor, teacher: Tensor, mask: Tensor, tau: Tensor | float = 1.0, against: Tensor | None = None
) -> Tensor:
    """KL(p_T ‖ p_S) of each row, p = softmax(s/τ) over its real candidates.

    Args:
        student: (B, N) scores.
        teacher: (B, N) scores.
        mask: (B, N) bool.
        tau: one temperature, or (B,).
        against: (B,) log-sum-exp of s/τ of what only the student's distribution also reaches over; None = nothing.

    Returns:
        (B,) divergences in nats, float32; without `against` zero on rows of fewer than two candidates.
    """
    if isinstance(tau, Tensor):
        tau = tau[:, None].to(wide(student).dtype)
    logits = (wide(student) / tau).masked_fill(~mask, LOWEST)
    log_s = torch.log_softmax(logits if against is None else torch.cat([logits, against[:, None]], 1), dim=1)
    log_s = log_s[:, : mask.shape[1]]
    log_t = torch.log_softmax((wide(teacher) / tau).masked_fill(~mask, LOWEST), dim=1)
    return (log_t.exp() * (log_t - log_s)).masked_fill(~mask, 0.0).sum(1)


@dataclass(frozen=True)
class KLD:
    """L = mean over contexts of KL(p_T ‖ p_S), p = softmax(s/τ) over the context's candidates.

    Teacher and student share the temperature and nothing is multiplied by τ², so the gradient shrinks as 1/τ. Contexts
    of fewer than two candidates do not count. DiSCo (arXiv 2410.14609) uses τ = 1.

    With `shared` the student's distribution also reaches over the block that the batch shares, to which the teacher
    gives nothing: L_KD of G2R (arXiv 2108.12582) less the teacher's entropy, which has no gradient. A context then
    counts with one candidate, as InfoNCE's does, but not without any of the block.

    Attributes:
        tau: temperature, or "entropy": per context, the one at which the teacher has `effective_documents`.
        effective_documents: exp(entropy) of the teacher's distribution that "entropy" aims at.
        shared: see above; needs a fixed temperature.

    Raises:
        ObjectiveError: teacher scores that are not finite or of another width; with "entropy", constant ones, or
            `shared`.
    """

    name: ClassVar[str] = "kld"
    reads_targets: ClassVar[frozenset[str]] = frozenset({"scores"})

    tau: float | Literal["entropy"] = 1.0
    effective_documents: float = 4.0
    shared: bool = False

    def __post_init__(self) -> None:
        check_temperature(self.name, self.tau, self.effective_documents)
        if self.shared and self.tau == "entropy":
            raise ObjectiveError(
                "objective 'kld': one candidate and a shared block have no entropy to aim at", "give tau a number"
            )

    @property
    def reads_output(self) -> frozenset[str]:
        return frozenset({"scores", "shared"} if self.shared else {"scores"})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        student, mask = student_scores(self.name, output)
        teacher = teacher_scores(self.name, output, targets)
        if self.shared and self.tau != "entropy":
            return self._beside_shared(output, student, teacher, mask, self.tau)
        tau = entropy_temperature(teacher, mask, self.effective_documents) if self.tau == "entropy" else self.tau
        return mean_over(kl_divergence(student, teacher, mask, tau), mask.sum(1) >= 2)

    def _beside_shared(self, output: Output, student: Tensor, teacher: Tensor, mask: Tensor, tau: float) -> Tensor:
        block = shared_scores(self.name, output)
        if block is None:
            raise ObjectiveError(
                "objective 'kld' is to read a shared block and the batch has none", "let the batch share its negatives"
            )
        scores, allowed = block
        against = torch.logsumexp((scores / tau).masked_fill(~allowed, LOWEST), dim=1)  # (B,)
        return mean_over(kl_divergence(student, teacher, mask, tau, against), mask.any(1) & allowed.any(1))


def check_temperature(name: str, tau: float | str, effective: float = 2.0) -> None:
    """Refuse a temperature that is not positive, or an effective number of documents of one or less."""
    if tau != "entropy" and (isinstance(tau, str) or not 0 < tau < float("inf")):
        raise ObjectiveError(f"objective {name!r}: temperature {tau!r}", "give a positive number")
    if not 1 < effective < float("inf"):
        raise ObjectiveError(f"objective {name!r}: {effective} effective documents", "give a number above 1")
