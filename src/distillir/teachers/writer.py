"""Commits labels as they come, those that come together in one transaction."""

from __future__ import annotations

import asyncio

from distillir.errors import DistillirError
from distillir.labels import Label, LabelRequest, LabelStore

Waiting = tuple[LabelRequest, Label, "asyncio.Future[None]"]


class Writer:
    """One transaction at a time, in a thread; what arrives meanwhile goes into the next.

    Attributes:
        twice: labels that another process had committed first.
    """

    def __init__(self, store: LabelStore) -> None:
        self.twice = 0
        self._store = store
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(self, request: LabelRequest, label: Label) -> None:
        """Return when the label is on the disk, not before.

        Raises:
            LabelError: the store refused it: a full disk, a value that is not JSON.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, label, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        await future

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            told = await asyncio.to_thread(self._put, batch)
            for (_, _, future), error in zip(batch, told, strict=True):
                if not future.done():
                    future.set_exception(error) if error else future.set_result(None)

    def _put(self, batch: list[Waiting]) -> list[DistillirError | None]:
        try:
            new = self._store.put_many([(request, label) for request, label, _ in batch], keep_first=True)
        except DistillirError as error:
            # One that is refused does not hold up the rest.
            return [error] if len(batch) == 1 else [told for one in batch for told in self._put([one])]
        self.twice += len(batch) - new
        return [None] * len(batch)
