"""MarginMSE: the student reproduces differences between the teacher's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives._lists import gold_mask, mean_over, mean_per_row, student_scores, teacher_scores
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class MarginMSE:
    """L = mean over contexts of the mean over pairs (i, j) of ((s_i − s_j) − (t_i − t_j))².

    A constant added to a teacher's scores changes nothing. Hofstätter et al., arXiv 2010.02666.

    Attributes:
        pairs: "gold" = every gold against every other candidate, as published; "all" = every two candidates, which
            needs no gold.

    Raises:
        ObjectiveError: teacher scores that are not finite or of another width.
    """

    name: ClassVar[str] = "margin_mse"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})

    pairs: Literal["gold", "all"] = "all"

    def __post_init__(self) -> None:
        if self.pairs not in ("gold", "all"):
            raise ObjectiveError(f"objective {self.name!r}: unknown pairs {self.pairs!r}", "use 'gold' or 'all'")

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset({"scores", "gold"} if self.pairs == "gold" else {"scores"})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        student, mask = student_scores(self.name, output)
        residual = student - teacher_scores(self.name, output, targets)  # (B, N)
        count = mask[:, :, None] & mask[:, None, :]  # (B, i, j)
        if self.pairs == "gold":
            gold = gold_mask(self.name, output, targets)
            count = count & gold[:, :, None] & ~gold[:, None, :]
        else:
            count = count.triu(1)
        terms = (residual[:, :, None] - residual[:, None, :]).square()
        return mean_over(*mean_per_row(terms, count))
