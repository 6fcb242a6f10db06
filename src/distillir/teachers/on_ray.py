"""Labelling on a Ray cluster: workers ask, one hub claims, paces and pays.

Every worker runs what a process on one machine runs (`teach_async`), with a store that is elsewhere. The hub, an actor
beside the label store, hands out claims, the budget and the moments of calls. A worker writes each label to its own
append-only shard before it tells the hub, so what was paid for survives workers, hub and this process: shards that the
store has not seen are merged when a worker is lost, and at the beginning of the next run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from distillir.data.cluster import brief, connected, room
from distillir.errors import ConfigError, DistillirError, LabelError, ModelError
from distillir.labels import Label, LabelRequest, LabelStore, ShardWriter
from distillir.teachers.hub import Hub, Refused
from distillir.teachers.prices import Budget
from distillir.teachers.progress import Outcome
from distillir.teachers.requests import A, Failure, Model, Pause, Question, Usage, pause
from distillir.teachers.runner import RunSettings
from distillir.teachers.teacher import Teacher, teach_async


@dataclass(frozen=True)
class OnRaySettings:
    """How labelling is spread.

    Attributes:
        workers: actors, each with a model of its own that asks `in_flight` questions at once.
        rate: questions a second of all workers together; None = as fast as they come. A model's own attempts after a
            fault wait as its `Retry` says, and are not counted.
        address: of the cluster, see `data.cluster.connected`.
        cpus, gpus: of a worker.
        retries: workers that may be lost.
    """

    workers: int = 2
    rate: float | None = None
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 5

    def __post_init__(self) -> None:
        if self.workers < 1 or (self.rate is not None and self.rate <= 0) or self.retries < 0:
            raise ConfigError(f"{self}", "give one worker or more, a rate above 0, and retries of 0 or more")


def teach_on_ray(
    teacher: Teacher,
    open_model: Callable[[], Model],
    store: str | Path,
    shards: str | Path,
    settings: RunSettings | None = None,
    spread: OnRaySettings | None = None,
) -> Outcome:
    """Make a teacher's labels, as far as the store lacks them, in workers.

    Args:
        teacher: whose labels.
        open_model: makes a worker's model, such as `partial(Endpoint, EndpointSettings(…))`; its key is read from the
            worker's environment.
        store: label store on a local disk of this machine.
        shards: folder that all workers see; stays until the next run has found nothing new in it.
        settings: of the run; budget and prices are of all workers together.
        spread: over how many.

    Raises:
        ModelError, LabelError: see `label`; or too many workers were lost, or no machine has room for one.
        MissingDependencyError: Ray is not installed. ConfigError: no cluster answers at the address.
    """
    settings, spread = settings or RunSettings(), spread or OnRaySettings()
    folder = Path(shards).absolute()
    ray = connected(spread.address)
    room(ray, spread.cpus, spread.gpus, LabelError)
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    hub = (
        ray.remote(Hub)
        .options(num_cpus=0, max_concurrency=16 + 4 * spread.workers, scheduling_strategy=here)
        .remote(str(Path(store).absolute()), str(folder), settings.budget, spread.rate)
    )
    worker = ray.remote(_Worker).options(num_cpus=spread.cpus, num_gpus=spread.gpus)
    given = ray.put((teacher, open_model, replace(settings, budget=None)))
    actors: dict[Any, Any] = {}

    def start() -> None:
        """One more worker. Nothing but `actors` holds it: what it takes up is free for the next when it has ended."""
        one = worker.remote()
        actors[one.run.remote(given, hub, str(folder))] = one

    ended: list[Outcome] = []
    errors: list[tuple[str, str, str]] = []
    lost = 0
    try:
        _told(ray.get(hub.gather.remote()))
        for _ in range(spread.workers):
            start()
        while actors:
            (done, *_), _ = ray.wait(list(actors), num_returns=1)
            actors.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayActorError as error:
                lost += 1
                _told(ray.get(hub.gather.remote()))  # what it had paid for, before its claims are anybody's
                if lost > spread.retries:
                    errors.append(
                        ("ModelError", f"{lost} workers were lost, the last: {brief(error)}", "see their logs")
                    )
                elif not errors:
                    start()
                continue
            if isinstance(result, Outcome):
                ended.append(result)
            else:
                errors.append(result)
        _told(errors[0] if errors else None)
        return _joined(ended, ray.get(hub.spent.remote()))
    finally:
        ray.kill(hub)


class _Worker:
    """Labels what it can claim, until nothing is left."""

    def run(self, given: Any, hub: Any, folder: str) -> Outcome | tuple[str, str, str]:
        import ray

        teacher, open_model, settings = given
        settings = replace(settings, purse=_Purse(ray, hub))
        name = str(ray.get_runtime_context().get_actor_id())
        try:
            with ShardWriter(folder, name) as shard:
                store = cast(LabelStore, _Elsewhere(ray, hub, shard))
                return asyncio.run(teach_async(teacher, _Paced(open_model(), hub), store, settings))
        except DistillirError as error:
            return type(error).__name__, error.cause, error.cure


class _Elsewhere:
    """The hub's label store, as far as a run uses it. A label is in the worker's shard before the hub hears of it."""

    def __init__(self, ray: Any, hub: Any, shard: ShardWriter) -> None:
        self._ray, self._hub, self._shard = ray, hub, shard
        self.path = shard.path

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        found = self._ray.get(self._hub.store.remote(method, *arguments, **options))
        if isinstance(found, Refused):
            raise LabelError(found.cause, found.cure)
        return found

    def get(self, key: str) -> Label | None:
        return cast("Label | None", self._ask("get", key))

    def missing(self, requests: Iterable[LabelRequest]) -> list[LabelRequest]:
        return cast("list[LabelRequest]", self._ask("missing", list(requests)))

    def claim(self, requests: Iterable[LabelRequest], worker: str, ttl: float) -> list[LabelRequest]:
        return cast("list[LabelRequest]", self._ask("claim", list(requests), worker, ttl))

    def release(self, requests: Iterable[LabelRequest], worker: str) -> None:
        self._ask("release", list(requests), worker)

    def give_up(self, *arguments: Any, **options: Any) -> None:
        self._ask("give_up", *arguments, **options)

    def put_many(self, pairs: Iterable[tuple[LabelRequest, Label]], *, keep_first: bool = False) -> int:
        made = list(pairs)
        self._shard.put_many(made)
        return int(self._ask("put_many", made, keep_first=keep_first))


class _Purse(Budget):
    """The budget of the hub."""

    def __init__(self, ray: Any, hub: Any) -> None:
        super().__init__(None)
        self._ray, self._hub = ray, hub

    def reserve(self, amount: float) -> bool:
        granted, self.spent = self._ray.get(self._hub.reserve.remote(amount))
        return bool(granted)

    def settle(self, reserved: float, actual: float) -> None:
        self.spent = self._ray.get(self._hub.settle.remote(reserved, actual))


class _Paced:
    """A model that asks when it is its turn."""

    def __init__(self, model: Model, hub: Any) -> None:
        self._model, self._hub = model, hub

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def in_flight(self) -> int:
        return self._model.in_flight

    def bound(self, question: Question[Any]) -> Usage:
        return self._model.bound(question)

    async def ask(self, question: Question[A], *, pause: Pause = pause) -> A | Failure:
        await asyncio.sleep(await self._hub.turn.remote())
        return await self._model.ask(question, pause=pause)

    async def __aenter__(self) -> Self:
        await self._model.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._model.__aexit__(kind, error, trace)


def _told(error: tuple[str, str, str] | None) -> None:
    """Raise what a worker or the hub met."""
    if error is not None:
        kind, cause, cure = error
        raise (ModelError if kind == "ModelError" else LabelError)(cause, cure)


def _joined(ended: Sequence[Outcome], spent: float) -> Outcome:
    """Outcomes of all workers as one. A label that one made is one that the others found in the store."""
    failures: Counter[str] = Counter()
    usage = Usage()
    for one in ended:
        failures += one.failures
        usage += one.usage
    seen = [one.progress for one in ended]
    total, done = max(now.total for now in seen), sum(now.done for now in seen)
    failed = max(now.failed for now in seen)
    progress = replace(
        seen[0], total=total, done=done, failed=failed, stored=max(0, total - done - failed), spent=spent, elsewhere=0,
        malformed=sum(now.malformed for now in seen), seconds=max(now.seconds for now in seen), in_flight=0,
    )  # fmt: skip
    stopped = next((one.stopped for one in ended if one.stopped != "done"), ended[0].stopped)
    return Outcome(stopped, progress, failures, usage, sum(one.twice for one in ended))
