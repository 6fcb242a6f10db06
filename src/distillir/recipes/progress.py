"""Stages of a run on the terminal: bars with rate and remaining time, one line a stage where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from distillir.training import Tick

_marks: ContextVar[list[Mark] | None] = ContextVar("marks", default=None)
EVERY = 15.0  # seconds between lines where there is no terminal


class Mark(NamedTuple):
    """A moment of a run: what was said, or which optimiser step is done, 0 for none."""

    moment: float
    name: str
    step: int = 0


@contextmanager
def recorded() -> Iterator[list[Mark]]:
    """What the stages of a run tell while this is open, with the moments they tell it at."""
    marks = [Mark(time.perf_counter(), "start")]
    token = _marks.set(marks)
    try:
        yield marks
    finally:
        _marks.reset(token)


class Stages:
    """A context manager around the stages of a run; writes to standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=quiet)
        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._live = sys.stderr.isatty() and not quiet
        self._progress = Progress(*columns, console=console, disable=not self._live)
        self._console = console
        self._started = time.perf_counter()
        self._last = 0.0

    def __enter__(self) -> Stages:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line."""
        _mark(text)
        self._console.print(
            f"[{time.perf_counter() - self._started:6.1f} s] {text}", highlight=False, markup=False, soft_wrap=True
        )

    def bar(self, name: str) -> Callable[[int, int], None]:
        """A watcher of (done, total)."""
        _mark(f"begin {name}")
        task: list[TaskID] = []
        begun = time.perf_counter()

        def watch(done: int, total: int) -> None:
            _mark(name)
            if not task:
                task.append(self._progress.add_task(name, total=total, rate="", note=""))
            rate = done / max(1e-9, time.perf_counter() - begun)
            self._progress.update(task[0], completed=done, total=total, rate=f"{rate:,.0f}/s")
            left = (total - done) / max(1e-9, rate)
            self._line(f"{name}: {done:,} of {total:,}, {rate:,.0f}/s, {left:.0f} s left", done == total)

        return watch

    def training(self) -> Callable[[Tick], None]:
        """A watcher of optimiser steps."""
        task: list[TaskID] = []

        def watch(tick: Tick) -> None:
            _mark("train", tick.step)
            if not task:
                task.append(self._progress.add_task("train", total=tick.steps, rate="", note=""))
            active = "" if tick.active is None else f", {tick.active:.0f} active"
            active += held(tick)
            dev = "" if tick.dev is None else f", dev {tick.dev:.3f}"
            rate = f"{tick.steps_per_second:.1f} steps/s"
            self._progress.update(task[0], completed=tick.step, rate=rate, note=f"loss {tick.loss:.4f}{active}{dev}")
            left = (tick.steps - tick.step) / max(1e-9, tick.steps_per_second)
            text = (
                f"train: step {tick.step} of {tick.steps}, {rate}, {left:.0f} s left, loss {tick.loss:.4f}{active}{dev}"
            )
            self._line(text, tick.dev is not None or tick.step == tick.steps)

        return watch

    def _line(self, text: str, always: bool) -> None:
        now = time.perf_counter()
        if not self._live and (always or now - self._last > EVERY):
            self._last = now
            self.say(text)


def _mark(name: str, step: int = 0) -> None:
    if (marks := _marks.get()) is not None:
        marks.append(Mark(time.perf_counter(), name, step))


def held(tick: Tick) -> str:
    """What a sparsity target has come to, as in "; flops 1.31 of 1.2"."""
    told = tick.steered.get("control", {})
    parts = [
        f"{'' if name == 'all' else name + ' '}{one['of']} {one['count']:.3g} of {one['target']:g}"
        for name, one in told.items()
        if one["count"] is not None
    ]
    return f", {'; '.join(parts)}" if parts else ""
