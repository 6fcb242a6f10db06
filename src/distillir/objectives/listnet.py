"""ListNet on graded gains: a cross-entropy against shares of gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillir.objectives._lists import LOWEST, By, mean_over, positions, student_scores
from distillir.objectives.contract import Output, Targets
from distillir.objectives.kld import check_temperature


@dataclass(frozen=True)
class ListNet:
    """L = mean over contexts of −Σ_i P_i·ln softmax(s/τ)_i, P_i = G_i / ΣG, G = 1/r,

    r the teacher's rank in the list, from 1. Cao et al., ICML 2007, top-one form. With P = softmax of teacher scores
    the gradient is KLD's; a list order has no scores, and its gains are those of `LambdaRank`. Contexts of fewer than
    two ranked candidates do not count.

    Attributes:
        by: which labels order the candidates, "order" or "scores".
        tau: temperature of the student.

    Raises:
        ObjectiveError: labels of another width.
    """

    name: ClassVar[str] = "listnet"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})

    by: By = "order"
    tau: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.name, self.tau)

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset({self.by})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        scores, _ = student_scores(self.name, output)
        place = positions(self.name, output, targets, self.by)
        ranked = place >= 0
        gain = (1.0 / (place.clamp(min=0) + 1).to(scores.dtype)).masked_fill(~ranked, 0.0)  # (B, N)
        wanted = gain / gain.sum(1, keepdim=True).clamp(min=1e-9)
        log_p = torch.log_softmax((scores / self.tau).masked_fill(~ranked, LOWEST), dim=1)
        return mean_over(-(wanted * log_p.masked_fill(~ranked, 0.0)).sum(1), ranked.sum(1) >= 2)
