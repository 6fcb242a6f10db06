"""Back-pressure and time-outs: so much is worked on at once, and nobody waits longer than agreed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from distillir.errors import ServiceError
from distillir.serving.metrics import Metrics
from distillir.serving.settings import ServeSettings

Done = TypeVar("Done")


class Desk:
    """Takes work while there is room."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._running: set[asyncio.Task[Any]] = set()
        self._seconds = 0.05  # of a request, lately
        self.closing = False

    async def do(self, work: Coroutine[Any, Any, Done]) -> Done:
        """The result of some work.

        Work that passes its time is not torn apart: it holds its place until it ends, so that nothing it uses is closed
        under it, and nothing is half done.

        Raises:
            ServiceError: 429 where there is no room, 503 while the service ends, 504 when it took too long.
        """
        if self.closing or len(self._running) >= self._settings.in_flight:
            work.close()
            raise self._refusal()
        task = asyncio.create_task(work)
        self._running.add(task)
        self._metrics.in_flight.set(len(self._running))
        task.add_done_callback(self._ended(time.perf_counter()))
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await asyncio.shield(task)
        except TimeoutError:
            raise ServiceError(
                504, f"no answer within {self._settings.timeout:g} s", "ask again later", wait=self._wait()
            ) from None

    async def drain(self) -> None:
        """Take nothing more, and wait for what is running."""
        self.closing = True
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.grace)

    def _refusal(self) -> ServiceError:
        if self.closing:
            return ServiceError(503, "the service is ending", "ask another one, or this one again later", wait=5)
        many = self._settings.in_flight
        return ServiceError(
            429, f"{many} requests are in flight already", "wait as Retry-After says", wait=self._wait()
        )

    def _wait(self) -> int:
        """Seconds until what is in flight should be done."""
        return min(60, max(1, math.ceil(self._seconds * len(self._running))))

    def _ended(self, begun: float) -> Any:
        def ended(task: asyncio.Task[Any]) -> None:
            self._running.discard(task)
            self._metrics.in_flight.set(len(self._running))
            self._seconds += 0.1 * (time.perf_counter() - begun - self._seconds)
            if not task.cancelled():
                task.exception()  # one that nobody waits for any more is not reported as lost

        return ended
