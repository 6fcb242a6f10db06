"""What workers on several machines share: claims, commits, one budget and one rate, beside the label store."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillir.errors import DistillirError
from distillir.labels import LabelStore, merge
from distillir.labels.shards import shards_in
from distillir.teachers.prices import Budget


class Hub:
    """What workers share: claims, commits, one budget, one rate. An actor beside the label store.

    Args:
        store: path of the label store. shards: folder of the workers' shards.
        budget: of all workers; None = no limit. rate: questions a second; None = any.
    """

    def __init__(self, store: str, shards: str, budget: float | None, rate: float | None) -> None:
        self._store = LabelStore(store)
        self._shards = Path(shards)
        self._budget = Budget(budget)
        self._rate = rate
        self._next = 0.0
        self._lock = threading.Lock()

    def store(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the label store returns, or the error it raises."""
        try:
            return getattr(self._store, method)(*arguments, **options)
        except DistillirError as error:
            return Refused(type(error).__name__, error.cause, error.cure)

    def gather(self) -> tuple[str, str, str] | None:
        """Take over what lies in shards and not in the store."""
        try:
            if shards_in(self._shards):
                merge(self._store, [self._shards])
        except DistillirError as error:
            return type(error).__name__, error.cause, error.cure
        return None

    def reserve(self, amount: float) -> tuple[bool, float]:
        """Whether an amount could be set aside, and what is spent so far."""
        with self._lock:
            return self._budget.reserve(amount), self._budget.spent

    def settle(self, reserved: float, actual: float) -> float:
        """Replace what was set aside by what was spent; what is spent so far."""
        with self._lock:
            self._budget.settle(reserved, actual)
            return self._budget.spent

    def spent(self) -> float:
        """By all workers. What a lost one had set aside stays set aside."""
        return self._budget.spent

    def turn(self) -> float:
        """Seconds to wait before a question, so that all together keep the rate."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._next = max(now, self._next) + 1 / self._rate
            return self._next - 1 / self._rate - now


@dataclass(frozen=True)
class Refused:
    """A deliberate error on its way to another process."""

    kind: str
    cause: str
    cure: str
