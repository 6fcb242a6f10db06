"""The loop between questions and the label store: claim, ask, commit, account.

What was committed is never asked again. A job holds its place among those in flight until its label is on the disk, so
a killed process can have paid for at most `in_flight` labels that are not there. The store counts them when their
leases run out, and with them the few that were claimed a little ahead of the asking.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from distillir.errors import ConfigError, DistillirError, ModelError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.teachers.calls import Calls
from distillir.teachers.interrupts import interruptible
from distillir.teachers.jobs import Job
from distillir.teachers.prices import Budget, Meter, Prices
from distillir.teachers.progress import Outcome, Progress
from distillir.teachers.requests import Failure, Model
from distillir.teachers.writer import Writer

T = TypeVar("T")
Plan = Sequence[Job] | Callable[[Model], Sequence[Job]]
Stopped = Literal["done", "budget", "interrupted"]


@dataclass(frozen=True)
class RunSettings:
    """How a run goes about it.

    Attributes:
        in_flight: jobs at once; None: as many as the model likes.
        prices: of the model.
        budget: most that this run may spend, in the currency of the prices; None: no limit.
        purse: one budget of several runs, in place of `budget`.
        lease: seconds after which another process may take over what a dead one held; living ones renew.
        give_up_after: failures in a row that end the run: then it is the endpoint, not the questions.
    """

    in_flight: int | None = None
    prices: Prices = field(default_factory=Prices)
    budget: float | None = None
    purse: Budget | None = None
    lease: float = 60.0
    give_up_after: int = 25

    def __post_init__(self) -> None:
        if (1 if self.in_flight is None else self.in_flight) < 1 or self.lease <= 0 or self.give_up_after < 1:
            raise ConfigError(f"{self}", "in_flight and give_up_after are 1 or more, lease above 0 seconds")


def label(
    plan: Plan,
    model: Model,
    store: LabelStore,
    settings: RunSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Make the labels of a plan that the store lacks.

    Ctrl-C once: calls in flight are waited for and committed, then KeyboardInterrupt. Twice: at once.

    Args:
        plan: the jobs, or a function that makes them when the model is open and its name known.
        model: to ask; opened and closed here.
        store: to commit to.
        settings: None: the defaults.
        progress: called after every commit and failure, from the thread that runs this.

    Raises:
        ModelError: no other question would be answered either (a wrong key), or too many failures in a row.
        LabelError: the store refused a label; whatever is committed stays.
        KeyboardInterrupt: after Ctrl-C.
    """
    outcome = asyncio.run(label_async(plan, model, store, settings, progress))
    if outcome.stopped == "interrupted":
        raise KeyboardInterrupt
    return outcome


async def label_async(
    plan: Plan,
    model: Model,
    store: LabelStore,
    settings: RunSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """As `label`, where an event loop runs already (a notebook); after Ctrl-C `Outcome.stopped` is "interrupted"."""
    async with model:
        return await _Run(model, store, settings or RunSettings(), progress).over(plan)


class _Run:
    def __init__(
        self, model: Model, store: LabelStore, settings: RunSettings, progress: Callable[[Progress], None] | None
    ) -> None:
        self.model, self.store, self.settings, self.tell = model, store, settings, progress
        self.most = settings.in_flight or model.in_flight
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.meter = Meter(settings.prices, settings.purse or settings.budget)
        self.writer = Writer(store)
        self.running: set[asyncio.Task[None]] = set()
        self.held: dict[str, LabelRequest] = {}
        self.failures: Counter[str] = Counter()
        self.in_a_row = 0
        self.stopped: Stopped = "done"
        self.error: BaseException | None = None
        self.threads: set[asyncio.Task[Any]] = set()
        self.stop = asyncio.Event()
        self.began = time.monotonic()
        self.state = Progress(0, 0, currency=settings.prices.currency)

    async def over(self, plan: Plan) -> Outcome:
        jobs = plan(self.model) if callable(plan) else plan
        by_key = {job.request.key: job for job in jobs}
        left = await asyncio.to_thread(self.store.missing, [job.request for job in jobs])
        self.state = replace(self.state, total=len(by_key), stored=len(by_key) - len(left))
        self._told()
        ready: asyncio.Queue[LabelRequest | None] = asyncio.Queue(max(1, self.most // 4))
        beside = [asyncio.create_task(self._feed(left, ready)), asyncio.create_task(self._renew())]
        try:
            loop = asyncio.get_running_loop()
            with interruptible(lambda: loop.call_soon_threadsafe(lambda: self._end(stopped="interrupted"))):
                while (request := await self._next(ready)) is not None:
                    job = by_key[request.key]
                    amount = self.meter.bound(job.bound)
                    if not await self._set_aside(amount):
                        break
                    self._start(job, amount)
                while self.running:
                    await asyncio.wait(self.running)
        finally:
            for task in [*beside, *self.running]:
                task.cancel()
            await asyncio.gather(*beside, *self.running, *self.threads, return_exceptions=True)
            await asyncio.to_thread(self.store.release, list(self.held.values()), self.worker)
        self._told()
        if self.error is not None:
            raise self.error
        return Outcome(self.stopped, self.state, self.failures, self.meter.usage, self.writer.twice)

    async def _feed(self, left: Sequence[LabelRequest], ready: asyncio.Queue[LabelRequest | None]) -> None:
        """Claim what is left, a little ahead of the asking; wait for what other processes hold."""
        try:
            size = ready.maxsize
            while left:
                others: list[LabelRequest] = []
                for chunk in (left[i : i + size] for i in range(0, len(left), size)):
                    mine = await self._in_thread(self._claim, chunk)
                    others += _without(chunk, mine)
                    for request in mine:
                        await ready.put(request)
                left = await self._in_thread(self.store.missing, others)
                came = len(others) - len(left)
                self.state = replace(self.state, stored=self.state.stored + came, elsewhere=len(left))
                if left:
                    self._told()
                    await asyncio.sleep(min(1.0, self.settings.lease / 4))
        except DistillirError as error:
            self._end(error)
        await ready.put(None)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease / 3)
            try:
                held = list(self.held.values())
                await self._in_thread(self.store.claim, held, self.worker, self.settings.lease)
            except DistillirError as error:
                self._end(error)

    async def _next(self, ready: asyncio.Queue[LabelRequest | None]) -> LabelRequest | None:
        """The next claimed request when there is a free place; None at the end."""
        while len(self.running) >= self.most:
            await asyncio.wait(self.running, return_when=asyncio.FIRST_COMPLETED)
        getting, ending = asyncio.create_task(ready.get()), asyncio.create_task(self.stop.wait())
        await asyncio.wait({getting, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if self.stop.is_set():
            getting.cancel()
            return None
        return getting.result()

    async def _set_aside(self, amount: float) -> bool:
        """Reserve the price of a job; calls in flight may turn out cheaper than reserved, so they are waited for."""
        while not self.meter.budget.reserve(amount):
            if not self.running:
                self._end(stopped="budget")
                return False
            await asyncio.wait(self.running, return_when=asyncio.FIRST_COMPLETED)
        return not self.stop.is_set()

    def _start(self, job: Job, amount: float) -> None:
        task = asyncio.create_task(self._one(job, amount))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _one(self, job: Job, amount: float) -> None:
        call = Calls(self.model, self.meter, self.stop, amount, lambda: self._end(stopped="budget"))
        result: Label | Failure
        try:
            try:
                result = await job.work(call.ask)
            except DistillirError as error:
                result = Failure("teacher", error.cause, error.cure)
            finally:
                self.meter.budget.settle(call.reserved, call.cost)
            if isinstance(result, Failure):
                await self._failed(job.request, result, call)
            else:
                await self.writer.commit(job.request, call.sign(result))
                self.in_a_row = 0
                bad = result.status == "malformed"
                self.state = replace(self.state, done=self.state.done + 1, malformed=self.state.malformed + bad)
                self.held.pop(job.request.key, None)
        except Exception as error:
            self._end(error)
        self._told()

    async def _failed(self, request: LabelRequest, failure: Failure, call: Calls) -> None:
        used = call.usage
        asked = used.attempts > 0
        if failure.reason in ("stopped", "budget"):
            if failure.reason == "budget":
                self._end(stopped="budget")
            if not asked:
                return  # still held: given back at the end
        await self._in_thread(
            self.store.give_up, request, self.worker, failure.reason,
            attempts=used.attempts, possibly_paid=used.lost, cost=call.cost,
        )  # fmt: skip
        self.held.pop(request.key, None)
        self.failures[failure.reason] += 1
        self.state = replace(self.state, failed=self.state.failed + 1)
        self.in_a_row += 1
        if failure.ends_run:
            self._end(ModelError(failure.detail, failure.cure))
        elif self.in_a_row >= self.settings.give_up_after:
            self._end(ModelError(f"{self.in_a_row} failures in a row, the last: {failure.detail}", failure.cure))

    def _end(self, error: BaseException | None = None, stopped: Stopped = "done") -> None:
        """Start nothing more; of several causes the first counts, but an error is never swallowed."""
        self.error = self.error or error
        if not self.stop.is_set():
            self.stopped = stopped
            self.stop.set()

    def _told(self) -> None:
        budget = self.meter.budget
        seconds, flying = time.monotonic() - self.began, len(self.running)
        self.state = replace(self.state, seconds=seconds, spent=budget.spent, in_flight=flying)
        if self.tell is not None:
            self.tell(self.state)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Work on the store in a thread. It cannot be cancelled there, so the end of the run waits for it."""
        task = asyncio.create_task(asyncio.to_thread(work, *arguments, **options))
        self.threads.add(task)
        task.add_done_callback(self.threads.discard)
        return await asyncio.shield(task)

    def _claim(self, requests: Sequence[LabelRequest]) -> list[LabelRequest]:
        mine = self.store.claim(requests, self.worker, self.settings.lease)
        self.held.update({request.key: request for request in mine})
        return mine


def _without(requests: Sequence[LabelRequest], others: Sequence[LabelRequest]) -> list[LabelRequest]:
    keys = {request.key for request in others}
    return [request for request in requests if request.key not in keys]
