"""Squared distance between the student's and the teacher's representation (ConvDR, LeCoRE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives.contract import Output, Targets


def representation_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over contexts of Σ_j (x_j − t_j)². Summed over V: a mean would shrink with the size of the vocabulary.

    Args:
        student, teacher: (B, V).
    """
    if student.shape != teacher.shape:
        raise ObjectiveError(
            f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}", "give two (B, V) tensors of one vocabulary"
        )
    return (student.float() - teacher.float()).square().sum(1).mean()


@dataclass(frozen=True)
class RepresentationMSE:
    """`representation_mse` as an objective."""

    name: ClassVar[str] = "representation_mse"
    reads_output: ClassVar[frozenset[str]] = frozenset({"vectors"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"vectors"})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        """Scalar loss."""
        assert output.vectors is not None  # check_pairing refused it before step 0
        assert targets.vectors is not None
        return representation_mse(output.vectors, targets.vectors)
