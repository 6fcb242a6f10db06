"""Squared error on the teacher's raw scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distillir.objectives._lists import mean_over, mean_per_row, student_scores, teacher_scores
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class PointwiseMSE:
    """L = mean over contexts of the mean over candidates of (s_i − t_i)².

    The scale of the teacher is learnt too, so it must be one the student can reach.

    Raises:
        ObjectiveError: teacher scores that are not finite or of another width.
    """

    name: ClassVar[str] = "pointwise_mse"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        student, mask = student_scores(self.name, output)
        error = (student - teacher_scores(self.name, output, targets)).square()
        return mean_over(*mean_per_row(error, mask))
