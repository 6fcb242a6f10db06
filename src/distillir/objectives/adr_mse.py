"""ADR-MSE: squared error between the teacher's ranks and the student's smooth ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillir.objectives._lists import By, mean_over, mean_per_row, positions, student_scores
from distillir.objectives.contract import Output, Targets
from distillir.objectives.kld import check_temperature


@dataclass(frozen=True)
class ADRMSE:
    """L = mean over contexts of the mean over candidates of (r̂_i − r_i)² / log₂(r_i + 1),
    r̂_i = 1 + Σ_{j≠i} σ((s_j − s_i)/τ),

    r the teacher's rank in the list, 1 = best. Rank-DistiLLM (arXiv 2405.07920). Candidates that the teacher did not
    rank stay out of r̂ too.

    Attributes:
        tau: temperature of the sigmoid; a small one makes r̂ the student's true rank.
        by: which labels order the candidates, "order" or "scores".

    Raises:
        ObjectiveError: labels of another width.
    """

    name: ClassVar[str] = "adr_mse"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})

    tau: float = 1.0
    by: By = "order"

    def __post_init__(self) -> None:
        check_temperature(self.name, self.tau)

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset({self.by})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        scores, _ = student_scores(self.name, output)
        place = positions(self.name, output, targets, self.by)
        ranked = place >= 0
        rank = place.clamp(min=0) + 1.0
        beaten = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / self.tau)  # (B, i, j): how far j passes i
        others = ranked[:, None, :] & ~torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        smooth = 1 + beaten.masked_fill(~others, 0.0).sum(2)
        terms = (smooth - rank).square() / torch.log2(rank + 1)
        rows, _ = mean_per_row(terms, ranked)
        return mean_over(rows, ranked.sum(1) >= 2)
