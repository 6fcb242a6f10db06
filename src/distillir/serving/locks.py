"""Many readers or one writer, on one event loop. A waiting writer is let in before new readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ReadWriteLock:
    """Readers share it, a writer has it alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._readers = 0
        self._writers = 0  # waiting or writing
        self._writing = False

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Nothing changes inside."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._writers)
            self._readers += 1
        try:
            yield
        finally:
            async with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Nobody reads inside."""
        async with self._changed:
            self._writers += 1
            try:
                await self._changed.wait_for(lambda: not self._readers and not self._writing)
            except BaseException:
                self._writers -= 1
                self._changed.notify_all()
                raise
            self._writing = True
        try:
            yield
        finally:
            async with self._changed:
                self._writers -= 1
                self._writing = False
                self._changed.notify_all()
