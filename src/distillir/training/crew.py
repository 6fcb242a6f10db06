"""Several processes, one run: the first prepares, evaluates and writes; the others wait, and train with it.

Only the first runs a recipe. Whatever trains is marked `on_every_process`: when the first comes to it, it hands
function and arguments to the others, over the launcher's process group, and all call it. So a recipe knows nothing of
processes, and nothing but a training is done twice.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from types import FrameType
from typing import Any, NoReturn, ParamSpec, TypeVar

import torch
from torch import distributed

from distillir.errors import TrainingError
from distillir.training.ranks import CURE, Ranks, brief

P = ParamSpec("P")
T = TypeVar("T")

BEAT = 15.0  # seconds between two signs of life of the first process
SILENCE = timedelta(minutes=10)  # after which the others give it up; a closed connection is noticed at once
ONLY_HERE = ("evaluate", "watch")  # arguments that stay with the first process: it alone evaluates and reports


def processes() -> int:
    """How many processes the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that does everything but train alone."""
    return processes() == 1 or int(os.environ.get("RANK", "0")) == 0


def lead(work: Callable[[], T]) -> T | None:
    """Do some work in the first process; the others take part in its trainings and return None when it is done.

    Args:
        work: prepares, trains by functions that are marked `on_every_process`, evaluates and writes.

    Raises:
        TrainingError: in the others, where the first ended before its work was done; in the first, where one of the
            others did.
    """
    global _leading  # noqa: PLW0603  (one process group a process, as in torch and accelerate)
    if processes() == 1:
        return work()
    ranks = Ranks()
    group = distributed.new_group(backend="gloo", timeout=SILENCE)
    if not ranks.main:
        _follow(group)
        return None
    _leading = leading = _Leading(group)
    try:
        with _told_of_the_end():
            leading.beat()
            result = work()
        leading.end(True)
        return result
    finally:
        _leading = None
        leading.end(False)


def on_every_process(train: Callable[P, T]) -> Callable[P, T]:
    """A function that trains. Under `lead` the others call it with the same arguments, apart from `evaluate` and
    `watch`, which are given by name; elsewhere it is what it was. It must be found under its name in its module."""

    @wraps(train)
    def called(*arguments: P.args, **options: P.kwargs) -> T:
        if _leading is None:
            return train(*arguments, **options)
        there = {name: value for name, value in options.items() if name not in ONLY_HERE}
        evaluated = options.get("evaluate") is not None
        with _leading.handing_out(_Job(called, arguments, there, evaluated)):
            return train(*arguments, **options)

    return called


@dataclass(frozen=True)
class _Job:
    """A training that all processes do."""

    train: Callable[..., object]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    evaluated: bool

    def do(self) -> None:
        self.train(*self.arguments, **self.options, **({"evaluate": _elsewhere} if self.evaluated else {}))


class _Leading:
    """The first process's side: signs of life, jobs, the end."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._lost: RuntimeError | None = None

    def beat(self) -> None:
        """Tell the others from now on that this process lives."""
        self._stop.clear()
        self._beating = threading.Thread(target=self._signs, daemon=True)
        self._beating.start()

    @contextmanager
    def handing_out(self, job: _Job) -> Iterator[None]:
        """Around this process's own part of a training; where that fails, the others see the connection close."""
        self._quiet()
        if self._lost is None:
            try:
                _send(job, self._group)
            except RuntimeError as error:
                self._lost = error
        if self._lost is not None:
            raise TrainingError(f"another process of this run has ended ({brief(self._lost)})", CURE) from self._lost
        yield
        self.beat()

    def end(self, well: bool) -> None:
        """Let the others go, once."""
        if self._quiet() and self._lost is None:
            with suppress(RuntimeError):  # who is gone needs not be told
                _send(well, self._group)

    def _quiet(self) -> bool:
        """Stop the signs of life; whether there were any, so that the others listen."""
        beating, self._beating = self._beating, None
        if beating is not None:
            self._stop.set()
            beating.join()
        return beating is not None

    def _signs(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                _send(None, self._group)
            except RuntimeError as error:
                self._lost = error
                return


_leading: _Leading | None = None


def _follow(group: Any) -> None:
    """Train whenever the first process does, until it says that all is done."""
    while True:
        try:
            message = _received(group)
        except RuntimeError as error:
            raise TrainingError(f"the first process of this run has ended ({brief(error)})", CURE) from error
        if isinstance(message, _Job):
            message.do()
        elif message is False:
            raise SystemExit(1)  # the first process says why
        elif message is True:
            return


def _elsewhere(student: torch.nn.Module) -> float:
    """Stands for the evaluation that the first process does."""
    raise AssertionError("only the first process evaluates")


def _send(message: _Job | bool | None, group: Any) -> None:
    distributed.broadcast_object_list([message], src=0, group=group)


def _received(group: Any) -> object:
    received: list[object] = [None]
    distributed.broadcast_object_list(received, src=0, group=group)
    return received[0]


@contextmanager
def _told_of_the_end() -> Iterator[None]:
    """A launcher ends all processes when one has failed; the first one then says so instead of vanishing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(number: int, frame: FrameType | None) -> NoReturn:
        raise TrainingError("the launcher ended this run: another process failed, or somebody stopped it", CURE)

    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
