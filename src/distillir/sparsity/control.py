"""Sparsity as a target: the weight of a penalty moves until the true count is what was asked for.

    minimise loss + e^u·penalty;  after each optimiser step  u ← u + gain/r·clip(log(c' / target), ±1)

c is a moving average of the count itself (active dimensions, or FLOPS on a corpus), which has no gradient; the penalty
is its smooth stand-in. This is dual ascent on the constraint log c ≤ log target. c' is where c will be `lead` steps
on if it goes on as it does: a dimension that went off gets no gradient and hardly comes back, so the weight has to stop
rising before the target is passed, not after. r is the learning rate over its peak once it falls: at the peak single
batches move the count more than the target's tolerance, towards the end they do not, and the student follows the weight
r times as fast; so the last steps, where the count is read best, are those that land it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from distillir.errors import ConfigError, ObjectiveError

SLOWEST = 0.1  # least r: u takes no larger steps than ten gains
FALLEN = 0.02  # of the peak learning rate: below it the student does not follow the weight, and u would run away
LANDING = 0.25  # of the peak learning rate: from there on weights may be the run's last ones
WITHIN = 0.05  # of the target, relatively: reached


class SparsityControl:
    """Holds a count of the representations at a target by moving the weight of a penalty.

    With targets by turn depth there is one weight a bucket of depths, so that late turns, which grow, are pressed
    harder than first ones. The penalty only lowers: where the count stays below its target the weight falls to its
    lower bound and the target is reported as not reached.

    Args:
        penalty: (B, V) → (), falls with the count.
        count: (B, V) → (B,), the true count.
        target: one number, or turn from which it holds → target, as in {1: 10, 4: 10}; a bucket ends where the next
            begins, and the first reaches down to the first turn.
        name: of the count, for records.
        gain: largest change of u in a step at the peak rate. Dimensions that went off come back slowly, so a larger one
            overshoots.
        memory: of the moving average: its weight on the steps before.
        lead: steps that the count is looked ahead; 0 = none.
        start: u before the first step.
        bounds: least and largest u.

    Raises:
        ConfigError: a target, gain, memory or bound that cannot be.
    """

    def __init__(
        self,
        penalty: Callable[[Tensor], Tensor],
        count: Callable[[Tensor], Tensor],
        target: float | Mapping[int, float],
        *,
        name: str = "active_dims",
        gain: float = 0.05,
        memory: float = 0.5,
        lead: float = 5.0,
        start: float = -7.0,
        bounds: tuple[float, float] = (-10.0, 8.0),
    ) -> None:
        self.by_turn = isinstance(target, Mapping)
        given = target if isinstance(target, Mapping) else {1: target}
        self.targets = {int(turn): float(given[turn]) for turn in sorted(given)}
        if not self.targets or not all(0 < one < math.inf for one in self.targets.values()):
            raise ConfigError(f"sparsity: {name} is {target!r}", "give a positive target")
        if not 0 < gain < math.inf or not 0 <= memory < 1 or not bounds[0] <= start <= bounds[1]:
            raise ConfigError(
                f"sparsity: gain {gain}, memory {memory}, start {start} in {bounds}",
                "give a positive gain, a memory from 0 to below 1 and a start inside its bounds",
            )
        if not 0 <= lead < math.inf:
            raise ConfigError(f"sparsity: lead {lead}", "give 0 or more steps")
        self._penalty, self._count = penalty, count
        self.name, self.gain, self.memory, self.lead, self.start, self.bounds = name, gain, memory, lead, start, bounds
        self.u = dict.fromkeys(self.targets, start)
        self.counts: dict[int, float] = {}  # moving averages; a bucket that no batch has held has none
        self._peak = 0.0  # largest rate so far

    def penalty(self, x: Tensor, turns: Tensor | None = None) -> Tensor:
        """e^u·penalty of representations (B, V) at turns (B,), buckets weighed by their share of the batch.

        Raises:
            ObjectiveError: targets by turn, and no turns.
        """
        parts = [
            len(rows) / len(x) * math.exp(self.u[bucket]) * self._penalty(rows)
            for bucket, rows in self._buckets(x, turns)
        ]
        return torch.stack(parts).sum()

    def update(self, x: Tensor, turns: Tensor | None, rate: float, steps: int = 1) -> None:
        """Move u by what representations count.

        Args:
            x: (B, V) of the step's whole batch, or of a probe. turns: (B,) depth of each, read with targets by turn.
            rate: learning rate of the step over its peak.
            steps: since the last update; u may move by so many gains, and the average forgets as much.
        """
        self._peak = max(self._peak, rate)
        fallen = rate / self._peak if self._peak else 1.0
        gain = self.gain / max(fallen, SLOWEST)
        kept = self.memory**steps
        with torch.no_grad():
            for bucket, rows in self._buckets(x, turns):
                now = self._now(rows)
                before = self.counts.get(bucket, now)
                self.counts[bucket] = kept * before + (1 - kept) * now
                if fallen >= FALLEN:
                    count = max(self.counts[bucket], 1e-9)
                    trend = math.log(count / max(before, 1e-9)) / steps
                    off = math.log(count / self.targets[bucket]) + self.lead * trend
                    moved = self.u[bucket] + steps * gain * min(1.0, max(-1.0, off))
                    self.u[bucket] = min(self.bounds[1], max(self.bounds[0], moved))

    def landing(self, rate: float) -> bool:
        """Whether the learning rate has fallen so far that a run may end on the weights of its step."""
        return rate < LANDING * self._peak

    def miss(self, x: Tensor, turns: Tensor | None = None) -> float:
        """How far representations are off their targets: |log(count / target)| of the worst bucket; nothing where they
        are below and there is no weight to take back."""
        with torch.no_grad():
            return max((self._off(bucket, self._now(rows)) for bucket, rows in self._buckets(x, turns)), default=0.0)

    def settle(self, x: Tensor, turns: Tensor | None = None) -> None:
        """The counts of what a run ends with, in place of their averages."""
        with torch.no_grad():
            self.counts |= {bucket: self._now(rows) for bucket, rows in self._buckets(x, turns)}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values."""
        return {
            "u": {str(k): v for k, v in self.u.items()},
            "counts": {str(k): v for k, v in self.counts.items()},
            "peak": self._peak,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`; an empty one is the start."""
        self.u = dict.fromkeys(self.targets, self.start) | {int(k): float(v) for k, v in state.get("u", {}).items()}
        self.counts = {int(k): float(v) for k, v in state.get("counts", {}).items()}
        self._peak = float(state.get("peak", 0.0))

    def describe(self) -> dict[str, Any]:
        """What makes it another control than others, as plain values."""
        return {
            "count": self.name,
            "targets": {str(k): v for k, v in self.targets.items()},
            "by_turn": self.by_turn,
            "gain": self.gain,
            "memory": self.memory,
            "lead": self.lead,
            "start": self.start,
            "bounds": list(self.bounds),
        }

    def report(self) -> dict[str, Any]:
        """Per bucket of turns ("all", or as in "turn 4+"): target, count, u, weight = e^u, and whether it is reached
        (`note` says why not)."""
        return {self._label(bucket): self._told(bucket) for bucket in self.targets}

    def _told(self, bucket: int) -> dict[str, Any]:
        target, count, u = self.targets[bucket], self.counts.get(bucket), self.u[bucket]
        told = {"of": self.name, "target": target, "count": count, "u": u, "weight": math.exp(u)}
        if count is None:
            return told | {"reached": False, "note": "no context of such a turn"}
        note = ""
        if count > target * (1 + WITHIN):
            note = "above, though the weight is at its bound" if u >= self.bounds[1] else "above: train for longer"
        elif count < target * (1 - WITHIN):
            note = "below: the penalty only lowers" if u <= self.start else "below: train for longer"
        return told | {"reached": not note, "note": note}

    def _off(self, bucket: int, count: float) -> float:
        off = math.log(max(count, 1e-9) / self.targets[bucket])
        return 0.0 if off < 0 and self.u[bucket] <= self.bounds[0] else abs(off)

    def _now(self, rows: Tensor) -> float:
        return float(self._count(rows).double().mean())

    def _label(self, bucket: int) -> str:
        return f"turn {bucket}+" if self.by_turn else "all"

    def _buckets(self, x: Tensor, turns: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        if not self.by_turn:
            yield next(iter(self.targets)), x
            return
        if turns is None:
            raise ObjectiveError(
                "targets by turn, and batches without turns", "give the data the depth of each context"
            )
        firsts = list(self.targets)
        place = torch.bucketize(turns, torch.tensor(firsts[1:], device=turns.device), right=True)
        for i, bucket in enumerate(firsts):
            rows = x[(place == i).to(x.device)]
            if len(rows):
                yield bucket, rows
