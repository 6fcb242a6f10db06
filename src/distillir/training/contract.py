"""What the loop asks of data and of what steers it, and what it tells of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from distillir.objectives.contract import Output, Targets


class Batch(Protocol):
    """What a data set hands to a student."""

    @property
    def targets(self) -> Targets: ...
    def to(self, device: torch.device | str) -> Self: ...
    def part(self, start: int, stop: int) -> Self:
        """Contexts `start` to `stop` with the same N listed and S shared candidates, S being of the whole batch.

        Asked for where a batch is forwarded in parts: under accumulation or on several processes.
        """
        ...


class TrainingData(Protocol):
    """Contexts that can be made into batches. `collate` is a function of its arguments alone."""

    @property
    def lengths(self) -> Sequence[int]: ...
    def collate(self, rows: Sequence[int], epoch: int) -> Any: ...


class Steered(Protocol):
    """What moves along with a run: its state goes into checkpoints, its report into the result."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    def report(self) -> dict[str, Any]: ...


Probe = Callable[[], tuple[Tensor, Tensor | None]]
"""Representations (P, V) that the student, as it is now, makes of some contexts, without dropout; their turns (P,)."""


class Control(Steered, Protocol):
    """A penalty whose weight follows what the representations (B, V) of contexts at turns (B,) cost."""

    def penalty(self, x: Tensor, turns: Tensor | None = None) -> Tensor: ...
    def update(self, x: Tensor, turns: Tensor | None, rate: float, steps: int = 1) -> None: ...
    def landing(self, rate: float) -> bool: ...
    def miss(self, x: Tensor, turns: Tensor | None = None) -> float: ...
    def settle(self, x: Tensor, turns: Tensor | None = None) -> None: ...


@runtime_checkable
class Mixing(Steered, Protocol):
    """An objective whose weights move: it is shown every step.

    `observe` gets the share of steps done after this one, and a function that gives the norm of the student's gradient
    of a scalar computed from `output`.
    """

    def observe(self, output: Output, targets: Targets, done: float, norm: Callable[[Tensor], float]) -> None: ...


@dataclass(frozen=True)
class Tick:
    """One optimiser step, for whoever watches; `steered` has the reports of control and mix."""

    step: int
    steps: int
    loss: float
    active: float | None
    steps_per_second: float
    dev: float | None
    steered: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps, dev history (step, figure), the best of it, seconds, a note if it stopped early, the
    reports of control and mix, the step whose weights the student has, and how many processes trained it."""

    steps: int
    history: tuple[tuple[int, float], ...]
    best: float | None
    best_step: int
    seconds: float
    stopped: str = ""
    steered: Mapping[str, Any] = field(default_factory=dict)
    kept_step: int = 0
    processes: int = 1
