"""Questions that arrive one by one, answered together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")
FIRST, MOST, SHARE, STEP = 0.01, 0.25, 0.05, 0.002  # seconds a batch waits to be filled; a share of the last one's time


class Batcher(Generic[Asked, Told]):
    """Collects what is waiting and works on it in one thread, a batch at a time.

    Those that the last batch set free need a moment to come back with their next question (a label is committed
    first); a batch that is not full waits for them, for a small share of the time a batch takes.

    Args:
        size: most questions of a batch.
        kind: questions of one kind go into one batch.
        work: answers a batch, in its order; runs in a thread. What it raises, everyone of the batch gets.
    """

    def __init__(
        self, size: int, kind: Callable[[Asked], Hashable], work: Callable[[list[Asked]], Sequence[Told]]
    ) -> None:
        self._size, self._kind, self._work = size, kind, work
        self._waiting: deque[tuple[Asked, asyncio.Future[Told]]] = deque()
        self._linger = FIRST
        self._serving: asyncio.Task[None] | None = None

    async def ask(self, question: Asked) -> Told:
        """The answer, when its batch is done."""
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            until = time.monotonic() + self._linger
            while len(self._waiting) < self._size and time.monotonic() < until:
                await asyncio.sleep(STEP)
            batch = self._next()
            if not batch:
                continue
            started = time.monotonic()
            try:
                told = await asyncio.to_thread(self._work, [question for question, _ in batch])
                for (_, future), answer in zip(batch, told, strict=True):
                    if not future.done():
                        future.set_result(answer)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            self._linger = max(FIRST, min(MOST, SHARE * (time.monotonic() - started)))

    def _next(self) -> list[tuple[Asked, asyncio.Future[Told]]]:
        """Take the oldest question and what goes with it; questions nobody waits for any more are dropped."""
        open_ = [pair for pair in self._waiting if not pair[1].done()]
        kind = self._kind(open_[0][0]) if open_ else None
        batch = [pair for pair in open_ if self._kind(pair[0]) == kind][: self._size]
        taken = {id(future) for _, future in batch}
        self._waiting = deque(pair for pair in open_ if id(pair[1]) not in taken)
        return batch
