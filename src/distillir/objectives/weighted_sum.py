"""Several objectives as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from distillir.errors import ConfigError
from distillir.objectives.contract import Objective, Output, Targets


@dataclass(frozen=True)
class WeightedSum:
    """Σ weight · objective. It reads what any of its parts reads."""

    terms: tuple[tuple[float, Objective], ...]

    name: ClassVar[str] = "weighted_sum"

    def __post_init__(self) -> None:
        if not self.terms:
            raise ConfigError("a weighted sum without terms", "name at least one objective")

    @property
    def reads_output(self) -> frozenset[str]:
        """Union over the parts."""
        return frozenset().union(*(part.reads_output for _, part in self.terms))

    @property
    def reads_targets(self) -> frozenset[str]:
        """Union over the parts."""
        return frozenset().union(*(part.reads_targets for _, part in self.terms))

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        """Scalar loss."""
        total = self.terms[0][0] * self.terms[0][1](output, targets)
        for weight, part in self.terms[1:]:
            total = total + weight * part(output, targets)
        return total
