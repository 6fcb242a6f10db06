"""A sum of objectives, each with its weight."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives.contract import Objective, Output, Targets


@dataclass(frozen=True)
class WeightedSum:
    """L = Σ weight·objective, e.g. `WeightedSum(((0.99, KLD()), (0.01, InfoNCE())))`.

    Attributes:
        terms: (weight, objective) pairs.

    Raises:
        ObjectiveError: no terms, or a weight that is not a finite number.
    """

    terms: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ObjectiveError("a weighted sum of nothing", "name at least one objective")
        for weight, objective in self.terms:
            if not math.isfinite(weight):
                raise ObjectiveError(f"objective {objective.name!r} has weight {weight}", "give a finite number")

    @property
    def name(self) -> str:
        return " + ".join(f"{weight:g}·{objective.name}" for weight, objective in self.terms)

    @property
    def reads_output(self) -> frozenset[str]:
        return frozenset().union(*(objective.reads_output for _, objective in self.terms))

    @property
    def reads_targets(self) -> frozenset[str]:
        return frozenset().union(*(objective.reads_targets for _, objective in self.terms))

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        values = self.parts(output, targets).values()
        return torch.stack([weight * value for (weight, _), value in zip(self.terms, values, strict=True)]).sum()

    def parts(self, output: Output, targets: Targets) -> dict[str, Tensor]:
        """Objective → its value before weighing, in order; a name that returns is numbered, as in "kld_2"."""
        seen: Counter[str] = Counter()
        values = {}
        for _, objective in self.terms:
            seen[objective.name] += 1
            key = objective.name if seen[objective.name] == 1 else f"{objective.name}_{seen[objective.name]}"
            values[key] = objective(output, targets)
        return values
