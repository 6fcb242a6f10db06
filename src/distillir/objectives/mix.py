"""Sums of objectives whose weights move over a run: from here to there, or so that gradients stay in proportion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives.contract import Objective, Output, Targets
from distillir.objectives.weighted_sum import WeightedSum

LARGEST = 1e3  # factor on a weight, either way: a term that has nearly no gradient must not be blown up


class Mix:
    """A weighted sum whose weights follow the run; the loop shows it every step.

    Args:
        terms: (weight, objective) pairs; the weights are those of the first step.

    Attributes:
        weights: of the next step.

    Raises:
        ObjectiveError: see `WeightedSum`.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]]) -> None:
        self._sum = WeightedSum(tuple(terms))
        self.first = [weight for weight, _ in terms]
        self.weights = list(self.first)

    @property
    def name(self) -> str:
        return self._sum.name

    @property
    def reads_output(self) -> frozenset[str]:
        return self._sum.reads_output

    @property
    def reads_targets(self) -> frozenset[str]:
        return self._sum.reads_targets

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        values = self.parts(output, targets).values()
        return torch.stack([weight * value for weight, value in zip(self.weights, values, strict=True)]).sum()

    def parts(self, output: Output, targets: Targets) -> dict[str, Tensor]:
        """Objective → its value before weighing."""
        return self._sum.parts(output, targets)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values."""
        return {"weights": list(self.weights)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`; an empty one is the start."""
        self.weights = [float(weight) for weight in state.get("weights", self.first)]

    def describe(self) -> dict[str, Any]:
        """What makes it another mix than others, as plain values."""
        return {"kind": type(self).__name__, "first": self.first}

    def report(self) -> dict[str, Any]:
        """Objective → its present weight."""
        names = [objective.name for _, objective in self._sum.terms]
        return dict(zip(names, self.weights, strict=True))


class LinearMix(Mix):
    """Weights that go in a straight line from the terms' own to others.

    Args:
        terms: (weight, objective) pairs; the weights are those of the first step.
        last: weight of each after the share `over` of all steps.
        over: share of the steps the way takes, above 0, up to 1.

    Raises:
        ObjectiveError: weights that are not finite or not one a term, or a share that cannot be.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]], last: Sequence[float], over: float = 1.0) -> None:
        super().__init__(terms)
        if len(last) != len(terms) or not all(math.isfinite(weight) for weight in last):
            raise ObjectiveError(f"last weights {list(last)} of {len(terms)} objectives", "give each a finite number")
        if not 0 < over <= 1:
            raise ObjectiveError(f"a mix that changes over the share {over} of all steps", "give above 0, up to 1")
        self.last, self.over = list(last), over

    def observe(self, output: Output, targets: Targets, done: float, norm: Callable[[Tensor], float]) -> None:
        """Set the weights of the step after the share `done` of all steps."""
        way = min(1.0, done / self.over)
        self.weights = [(1 - way) * a + way * b for a, b in zip(self.first, self.last, strict=True)]

    def describe(self) -> dict[str, Any]:
        """What makes it another mix than others, as plain values."""
        return super().describe() | {"last": self.last, "over": self.over}


class BalancedMix(Mix):
    """Weights under which the terms' gradients are to each other as the given weights are.

    w_k = weight_k·g_1 / g_k, g the moving average of the norm of the student's gradient of a term, measured every
    `every` steps by a backward pass a term. The first term keeps its weight, so the learning rate means the same. Esser
    et al. (arXiv 2012.09841, eq. 7) balance two terms so, by the last layer; GradNorm (arXiv 1711.02257) learns them.

    Args:
        terms: (share, objective) pairs; before the first measurement the shares are weights.
        every: steps between measurements.
        memory: of the moving average: its weight on earlier measurements.

    Raises:
        ObjectiveError: a first term of weight zero, or numbers that cannot be.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]], every: int = 10, memory: float = 0.8) -> None:
        super().__init__(terms)
        if not self.first[0] or every < 1 or not 0 <= memory < 1:
            raise ObjectiveError(
                f"a balance against a first weight of {self.first[0]}, every {every} steps, memory {memory}",
                "give the first objective a weight, every at least 1, and a memory from 0 to below 1",
            )
        self.every, self.memory = every, memory
        self.norms: list[float | None] = [None] * len(self.first)
        self._steps = 0

    def observe(self, output: Output, targets: Targets, done: float, norm: Callable[[Tensor], float]) -> None:
        """Measure every few steps, and weigh the next by it. A term without a gradient, such as a contrastive one in a
        batch without gold, is not measured."""
        if self._steps % self.every == 0:
            for k, value in enumerate(self.parts(output, targets).values()):
                now = norm(value)
                if math.isfinite(now) and now > 0:
                    before = self.norms[k]
                    self.norms[k] = now if before is None else self.memory * before + (1 - self.memory) * now
            against = self.norms[0]
            for k, (weight, own) in enumerate(zip(self.first, self.norms, strict=True)):
                if own is not None and against is not None:
                    self.weights[k] = weight * min(LARGEST, max(1 / LARGEST, against / own))
        self._steps += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values."""
        return super().state() | {"norms": list(self.norms), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`; an empty one is the start."""
        super().restore(state)
        self.norms = list(state.get("norms", [None] * len(self.first)))
        self._steps = int(state.get("steps", 0))

    def describe(self) -> dict[str, Any]:
        """What makes it another mix than others, as plain values."""
        return super().describe() | {"every": self.every, "memory": self.memory}
