"""LambdaRank: RankNet's pairs weighed by what swapping them would change in nDCG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from distillir.objectives._lists import LOWEST, By, mean_over, positions, student_scores
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class LambdaRank:
    """L = mean over contexts of Σ_{i above j} |ΔnDCG_ij|·ln(1 + e^{s_j − s_i}),
    ΔnDCG_ij = (G_i − G_j)·(1/log₂(1 + π_i) − 1/log₂(1 + π_j)) / ideal DCG, G = 1/r,

    r the teacher's rank in the list and π the student's present one (a constant of the step), both from 1. A list order
    has no grades of its own; the reciprocal rank is the gain most distillation work uses. Burges 2010 (MSR-TR-2010-82);
    Wang et al., CIKM 2018.

    Attributes:
        by: which labels order the candidates, "order" or "scores".

    Raises:
        ObjectiveError: labels of another width.
    """

    name: ClassVar[str] = "lambda_rank"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})

    by: By = "order"

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset({self.by})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        scores, _ = student_scores(self.name, output)
        place = positions(self.name, output, targets, self.by)
        ranked = place >= 0
        gain = (1.0 / (place.clamp(min=0) + 1)).masked_fill(~ranked, 0.0)  # (B, N)
        with torch.no_grad():
            by_score = scores.masked_fill(~ranked, LOWEST).argsort(stable=True, dim=1, descending=True)
            standing = by_score.argsort(1)  # (B, N) student's place, 0 = best
            discount = 1.0 / torch.log2(standing + 2.0)
            ideal = (gain.sort(1, descending=True).values / torch.log2(torch.arange(gain.shape[1]).to(gain) + 2)).sum(1)
            swap = (gain[:, :, None] - gain[:, None, :]) * (discount[:, :, None] - discount[:, None, :])
            weight = swap.abs() / ideal.clamp(min=1e-9)[:, None, None]
        above = (place[:, :, None] < place[:, None, :]) & ranked[:, :, None]  # (B, i, j)
        terms = weight * F.softplus(scores[:, None, :] - scores[:, :, None])
        return mean_over(terms.masked_fill(~above, 0.0).sum((1, 2)), above.any(2).any(1))
