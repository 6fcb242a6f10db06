"""How far a labelling run is, and how it ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from distillir.teachers.requests import Usage


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        total: labels wanted, each once.
        stored: of them, in the store before the run.
        done: committed by this run; malformed: of them.
        failed: asked in vain; they stay open.
        in_flight: being asked now.
        elsewhere: other processes are at them.
        seconds: since the run began.
        spent: in `currency`; lost calls count at their most.
        currency: of the prices.
    """

    total: int
    stored: int
    done: int = 0
    malformed: int = 0
    failed: int = 0
    in_flight: int = 0
    elsewhere: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    currency: str = "USD"

    @property
    def remaining(self) -> int:
        """Labels still to be asked for."""
        return max(0, self.total - self.stored - self.done - self.failed)

    @property
    def rate(self) -> float:
        """Jobs finished a second, 0 before the first."""
        return (self.done + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """At this rate; None before the first."""
        return self.remaining / self.rate if self.rate else None

    @property
    def projected(self) -> float | None:
        """Spent at the end, if the rest costs what the finished did; None before the first."""
        finished = self.done + self.failed
        return self.spent * (finished + self.remaining) / finished if finished else None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        stopped: "done", "budget" or "interrupted".
        progress: its last moment.
        failures: reason -> how many; all of them are asked again by the next run.
        usage: of all calls.
        twice: labels another process had committed first; ours are kept aside in the store as conflicts.
    """

    stopped: Literal["done", "budget", "interrupted"]
    progress: Progress
    failures: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    twice: int = 0
