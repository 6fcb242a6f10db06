"""RankNet: a logistic loss on every two candidates the teacher orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from distillir.objectives._lists import By, mean_over, mean_per_row, positions, student_scores
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class RankNet:
    """L = mean over contexts of the mean over pairs (i above j) of ln(1 + e^{s_j − s_i}).

    Burges et al. 2005; over all pairs of a list of 30 it is TWOLAR's objective (arXiv 2403.17759). Candidates that the
    teacher did not rank, and pairs it ties, do not count.

    Attributes:
        by: which labels order the candidates, "order" or "scores".

    Raises:
        ObjectiveError: labels of another width.
    """

    name: ClassVar[str] = "ranknet"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})

    by: By = "order"

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset({self.by})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        scores, _ = student_scores(self.name, output)
        place = positions(self.name, output, targets, self.by)
        above = (place[:, :, None] < place[:, None, :]) & (place[:, :, None] >= 0)  # (B, i, j)
        terms = F.softplus(scores[:, None, :] - scores[:, :, None])
        return mean_over(*mean_per_row(terms, above))
