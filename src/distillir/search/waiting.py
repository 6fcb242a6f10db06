"""A bar with rate and remaining time for whoever waits, shown only when the wait is worth one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AFTER = 2.0  # seconds of silence
EVERY = 15.0  # seconds between lines where there is no terminal


def say(text: str) -> None:
    """One line to standard error."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def bar(name: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A watcher of (done, total) that writes to standard error: a bar on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    begun = last = time.perf_counter()
    live = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=not live, transient=True) as progress:
        task = progress.add_task(name, total=None, rate="", visible=False)

        def watch(done: int, total: int) -> None:
            nonlocal last
            now = time.perf_counter()
            rate = done / max(1e-9, now - begun)
            progress.update(
                task, completed=done, total=total, rate=f"{rate:,.0f} {unit}/s", visible=now - begun > AFTER
            )
            if not live and now - last > EVERY and done < total:
                last = now
                say(f"{name}: {done:,} of {total:,}, {rate:,.0f} {unit}/s, {(total - done) / rate:.0f} s left")

        yield watch
