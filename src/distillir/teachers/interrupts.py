"""Ctrl-C for labelling runs: the first one asks all runs of this process to end, the second one is as it always was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_stops: list[Callable[[], object]] = []
_before: Any = None


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls `stop`; in other threads than the main one signals are left alone."""
    global _before  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _stops:
        _before = signal.signal(signal.SIGINT, _interrupt)
    _stops.append(stop)
    try:
        yield
    finally:
        _stops.remove(stop)
        if not _stops and signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, _before)


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    signal.signal(signal.SIGINT, _before)
    for stop in _stops:
        stop()
