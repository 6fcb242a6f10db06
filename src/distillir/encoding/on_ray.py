"""Encoding on a Ray cluster: actors make shares of a corpus, this process puts them together.

Every actor holds one encoder. Its shares are asked for one ahead, so that it never waits for this process; a share
whose actor died goes to another, and Ray starts the actor again on a machine that is left.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from distillir.data import Corpus
from distillir.data.cluster import brief, connected, room
from distillir.encoding.shares import ShareWork, make_share
from distillir.errors import ConfigError, DistillirError, VectorsError
from distillir.students.device import fastest_device

SOON = 0.2  # seconds before a worker that is being started is asked again
AHEAD = 2  # shares an actor has, the one at work included


@dataclass(frozen=True)
class OnRay:
    """Makes shares in actors; see `Shares`.

    Attributes:
        workers: actors; None = one for each `cpus` processors, or `gpus` accelerators, of the cluster.
        cpus, gpus: of an actor; its encoder uses so many threads. One machine that has them must be there: those
            that a cluster would add on demand are not counted.
        address: of the cluster; None = the one this process is connected to, else the one that RAY_ADDRESS names, else
            one on this machine alone.
        retries: times that one share may lose its worker.

    Raises:
        ConfigError: no worker, or a worker without a processor.
    """

    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
    retries: int = 5

    def __post_init__(self) -> None:
        if (self.workers is not None and self.workers < 1) or self.cpus <= 0 or self.gpus < 0 or self.retries < 0:
            raise ConfigError(f"{self}", "give one worker or more, processors above 0, and retries of 0 or more")

    def __call__(self, numbers: Iterable[int], work: ShareWork) -> Iterator[int]:
        """Shares in the order they come.

        Raises:
            MissingDependencyError: Ray is not installed. ConfigError: no cluster answers at the address.
            VectorsError: a share lost its worker too often, no machine has room for a worker, or what the encoder
                refuses.
        """
        left = deque(numbers)
        if not left:
            return
        ray = connected(self.address)
        fitting = room(ray, self.cpus, self.gpus, VectorsError)
        actor = ray.remote(_Worker).options(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=-1)
        held = ray.put(work)
        actors = [actor.remote(held, self.cpus) for _ in range(min(self.workers or fitting, len(left)))]
        flying = {one.ready.remote(): _Flight(None, one) for one in actors}
        lost: Counter[int | None] = Counter()
        try:
            while left or any(flight.share is not None for flight in flying.values()):
                (done, *_), _ = ray.wait(list(flying), num_returns=1)
                share, one = flying.pop(done)
                busy = sum(flight.actor is one for flight in flying.values())
                try:
                    refused = ray.get(done)
                except ray.exceptions.RayActorError as error:
                    coming_back = isinstance(error, ray.exceptions.ActorUnavailableError)
                    if share is None and coming_back:
                        time.sleep(SOON)
                    else:
                        lost[share] += 1
                    if lost[share] > self.retries:
                        raise VectorsError(
                            f"{'a worker' if share is None else f'share {share}'} was lost {lost[share]} times, the "
                            f"last: {brief(error)}",
                            "look at the workers' memory and logs; shares that are ready stay, run again",
                        ) from error
                    if share is not None:
                        left.appendleft(share)
                    if not busy:  # it gets shares again when it is back, on whatever machine
                        flying[one.ready.remote()] = _Flight(None, one)
                    continue
                if refused:
                    raise VectorsError(*refused)
                for _ in range(AHEAD - busy):
                    if left:
                        share_next = left.popleft()
                        flying[one.make.remote(share_next)] = _Flight(share_next, one)
                if share is not None:
                    yield share
        finally:
            for one in actors:
                ray.kill(one)


class _Flight(NamedTuple):
    """A call that was made of an actor: a share, or None where it is asked whether it is there."""

    share: int | None
    actor: Any


class _Worker:
    """One encoder on some machine of the cluster."""

    def __init__(self, work: ShareWork, cpus: float) -> None:
        import torch

        torch.set_num_threads(max(1, int(cpus)))
        if isinstance(work.encoder, torch.nn.Module):
            work.encoder.to(fastest_device())  # Ray hides the accelerators that the actor did not ask for
        self._work, self._corpus = work, Corpus.open(work.corpus)

    def ready(self) -> None:
        """Answers when the encoder is loaded."""

    def make(self, number: int) -> tuple[str, str] | None:
        """Make a share; cause and cure of what was refused."""
        try:
            make_share(self._work, number, self._corpus)
        except DistillirError as error:
            return error.cause, error.cure
        return None
