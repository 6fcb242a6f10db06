"""Weights of penalties over a run: functions of the share of its optimiser steps that are done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from distillir.errors import ConfigError


@dataclass(frozen=True)
class Constant:
    """The same weight from first to last step."""

    weight: float

    def __post_init__(self) -> None:
        _check(self.weight, 1.0)

    def __call__(self, done: float) -> float:
        """Weight after a share `done` of the steps, 0 to 1."""
        return self.weight


@dataclass(frozen=True)
class Linear:
    """λ·min(1, t): zero at the first step, whole after the share `ramp` of all steps, t = done / ramp."""

    weight: float
    ramp: float = 1 / 3

    def __post_init__(self) -> None:
        _check(self.weight, self.ramp)

    def __call__(self, done: float) -> float:
        """Weight after a share `done` of the steps, 0 to 1."""
        return self.weight * min(1.0, done / self.ramp)


@dataclass(frozen=True)
class Quadratic:
    """λ·min(1, t)², t = done / ramp: lets a student rank before it is made sparse.

    Paria et al. (arXiv 2004.05665); SPLADE's released training ramps over 50,000 of its 150,000 steps.
    """

    weight: float
    ramp: float = 1 / 3

    def __post_init__(self) -> None:
        _check(self.weight, self.ramp)

    def __call__(self, done: float) -> float:
        """Weight after a share `done` of the steps, 0 to 1."""
        return self.weight * min(1.0, done / self.ramp) ** 2


SCHEDULES: dict[str, Callable[..., Callable[[float], float]]] = {
    "constant": Constant,
    "linear": Linear,
    "quadratic": Quadratic,
}
"""Schedules that a recipe can name."""


def _check(weight: float, ramp: float) -> None:
    if not 0 <= weight < math.inf:
        raise ConfigError(f"a penalty of weight {weight}", "give 0 or more")
    if not 0 < ramp <= 1:
        raise ConfigError(f"a ramp over the share {ramp} of all steps", "give a share above 0, up to 1")
