"""A hinge whose margin grows with the gap between two ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives._lists import ByAny, mean_over, mean_per_row, positions, student_scores
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class RankGap:
    """L = mean over contexts of the mean over pairs i < j with d_ij > 0 of c_i·d_ij,
    d_ij = max(0, s_j − s_i + margin + step·(j − i − 1)), c_0 = top_weight and else c_i = 1/(i + 1),

    where i and j are places in the teacher's order, 0 = best. The margin follows the rank gap alone; the teacher's
    scores are not used. A list that meets every margin costs nothing. "Distilled RankNet" of DGR (arXiv 2402.10769),
    released with margin 300, step 100, top_weight 3 on a scorer of that range; the defaults keep the proportions.
    Under `relative` scores are first divided by the mean range of the batch's lists, a constant to the gradient, so
    that a margin is a share of it, and the loss the same whatever the scorer's scale.

    Attributes:
        margin: between neighbours. step: added for each rank in between.
        top_weight: of pairs with the best candidate.
        by: which labels order the candidates: "order", "scores", or "gold", golds before all others and no more (the
            hinge of LTRGR, arXiv 2306.15222).
        gold_first: whether golds stand above all others whatever the teacher says.
        relative: whether margin and step are shares of the scores' range.

    Raises:
        ObjectiveError: labels of another width, a margin or step below zero.
    """

    name: ClassVar[str] = "rank_gap"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})

    margin: float = 1.0
    step: float = 1 / 3
    top_weight: float = 3.0
    by: ByAny = "order"
    gold_first: bool = False
    relative: bool = False

    def __post_init__(self) -> None:
        if self.margin < 0 or self.step < 0:
            raise ObjectiveError(
                f"objective {self.name!r}: margin {self.margin}, step {self.step}", "give numbers of zero or more"
            )

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset({self.by, "gold"} if self.gold_first else {self.by})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        scores, mask = student_scores(self.name, output)
        if self.relative:
            scores = scores / _range(scores, mask)
        place = positions(self.name, output, targets, self.by, gold_first=self.gold_first)
        upper, lower = place[:, :, None], place[:, None, :]  # (B, i, j)
        above = (upper < lower) & (upper >= 0)
        hinge = torch.relu(scores[:, None, :] - scores[:, :, None] + self.margin + self.step * (lower - upper - 1))
        weight = torch.where(upper == 0, self.top_weight, 1.0 / (upper.clamp(min=0) + 1))
        return mean_over(*mean_per_row(weight * hinge, above & (hinge > 0)))


def _range(scores: Tensor, mask: Tensor) -> Tensor:
    """() mean over lists of two or more of their largest score minus their smallest; 1 where there is no difference."""
    seen = scores.detach()[mask.sum(1) > 1]
    real = mask[mask.sum(1) > 1]
    if not seen.numel():
        return scores.new_ones(())
    width = (seen.masked_fill(~real, -torch.inf).amax(1) - seen.masked_fill(~real, torch.inf).amin(1)).mean()
    return torch.where(width > 0, width, torch.ones_like(width))
