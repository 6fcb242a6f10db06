"""Requests that wait for the encoder are encoded together; nobody waits for a batch to fill.

While a batch is encoded, what arrives gathers; it is the next batch. So a lone request is encoded at once, and under
load batches grow by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Result = TypeVar("Result")


class Batcher(Generic[Item, Made]):
    """Calls `work` in a thread of its own, with all that waits for it.

    Args:
        work: some items → one result each, in order. Where it raises, each item is tried by itself, so that only those
            that are at fault fail.
        largest: items a batch.
        observe: called with the size of every batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Made]],
        largest: int,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._work, self._largest, self._observe = work, largest, observe
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._waiting: deque[tuple[Item, asyncio.Future[Made]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Made:
        """The result of one item."""
        done: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await done

    async def alone(self, call: Callable[[], Result]) -> Result:
        """The result of a call in the same thread: tokenizers are not made for two threads at once."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Let the thread end once it has nothing to do."""
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]
            some = [(item, done) for item, done in some if not done.done()]  # whoever gave up waits no more
            if not some:
                continue
            self._observe(len(some))
            results = await self.alone(partial(self._each, [item for item, _ in some]))
            for (_, done), result in zip(some, results, strict=True):
                if done.done():
                    continue
                if isinstance(result, BaseException):
                    done.set_exception(result)
                else:
                    done.set_result(result)

    def _each(self, items: list[Item]) -> Sequence[Made | BaseException]:
        try:
            return list(self._work(items))
        except Exception as error:
            if len(items) == 1:
                return [error]
            return [self._each([item])[0] for item in items]
