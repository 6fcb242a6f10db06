"""Squared distance between the student's and the teacher's representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives._lists import check_shape, present, wide
from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class RepresentationMSE:
    """L = mean_b Σ_j (x_bj − t_bj)²: a sum over dimensions, a mean over contexts.

    A mean over V = 30522 mostly zero dimensions would leave a gradient too small to see. ConvDR (Yu et al., arXiv
    2105.04166) and LeCoRE fit the rewrite's representation this way.

    Raises:
        ObjectiveError: representations missing, of another shape, or not finite.
    """

    name: ClassVar[str] = "representation_mse"
    reads_output: ClassVar[frozenset[str]] = frozenset({"vectors"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"vectors"})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        student = present(self.name, "output.vectors", output.vectors)
        teacher = present(self.name, "targets.vectors", targets.vectors)
        check_shape(self.name, "teacher vectors", teacher, student)
        if not teacher.isfinite().all():
            raise ObjectiveError(
                f"objective {self.name!r}: teacher vectors are not finite", "encode the rewrites again, in float32"
            )
        return (wide(student) - wide(teacher)).square().sum(1).mean()
