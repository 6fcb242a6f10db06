"""Contexts of a batch divided over the processes that train together, for objectives that work long on each.

The loop takes the loss of the whole batch on every process: where the scores are at hand, that costs nothing. An
objective that walks a collection for each context asks here which contexts are this process's own, and gives what it
found to all. Elsewhere, as when one process alone computes something, all contexts are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor


class Processes(Protocol):
    """Those of a run; `sum` is called by all of them, as often and with the same shapes."""

    @property
    def count(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def sum(self, tensor: Tensor) -> Tensor: ...


_processes: ContextVar[Processes | None] = ContextVar("processes", default=None)


@contextmanager
def divided(processes: Processes) -> Iterator[None]:
    """Inside, all processes compute the same thing of the same batch, and share the work."""
    token = _processes.set(processes if processes.count > 1 else None)
    try:
        yield
    finally:
        _processes.reset(token)


def own(count: int) -> range:
    """Places, of `count`, that are this process's to work on: every place is one process's."""
    here = _processes.get()
    return range(count) if here is None else range(here.rank, count, here.count)


def joined(found: Tensor) -> Tensor:
    """What all processes found, each zero where the work was not its own."""
    here = _processes.get()
    return found if here is None else here.sum(found.to(here.device)).to(found.device)
