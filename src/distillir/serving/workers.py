"""Several processes at one port, where an engine elsewhere has the documents.

The first process listens and answers nothing: it starts workers, hands signals on, and starts a worker again that died.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from distillir.errors import DistillirError, ServiceError
from distillir.serving.metrics import SHARED

logger = logging.getLogger(__name__)
Work = Callable[..., None]  # listener, what it has to say, arguments


class Workers:
    """Some processes that do the same.

    Args:
        count: of them.
        work: called in each with the socket, a connection, and the arguments; it sends a line to the connection when it
            takes requests, and returns when it is told to end by SIGTERM.
        listener: the socket.
        arguments: of the work; they are sent to another process.
    """

    def __init__(self, count: int, work: Work, listener: socket.socket, *arguments: Any) -> None:
        self._count, self._work, self._listener, self._arguments = count, work, listener, arguments
        self._context = multiprocessing.get_context("spawn")  # threads of a library do not survive a fork
        self._running: list[BaseProcess] = []
        self._ending = False

    def run(self, say: Callable[[str], None]) -> None:
        """Until this process is told to end.

        Args:
            say: takes what the first worker says.

        Raises:
            ServiceError: a worker could not start; the others are ended.
        """
        with _counting(), self._signals():
            try:
                starting = [self._start() for _ in range(self._count)]  # all at once: each takes seconds
                for line in [_first_words(*started) for started in starting][:1]:
                    say(line)
                while not self._ending:
                    wait([worker.sentinel for worker in self._running], timeout=0.2)
                    for worker in [w for w in self._running if not w.is_alive()]:
                        if not self._ending:
                            self._replace(worker)
            except ServiceError:
                if not self._ending:
                    raise
            finally:
                self._tell(signal.SIGTERM)
                for worker in self._running:
                    worker.join()

    def _start(self) -> tuple[BaseProcess, Connection]:
        ours, theirs = self._context.Pipe(duplex=False)
        worker = self._context.Process(target=_child, args=(self._work, self._listener, theirs, *self._arguments))
        worker.start()
        theirs.close()
        self._running.append(worker)
        return worker, ours

    def _replace(self, dead: BaseProcess) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        logger.error("worker %s ended (%s) and is started again", dead.pid, dead.exitcode)
        mark_process_dead(dead.pid)  # type: ignore[no-untyped-call]
        self._running.remove(dead)
        while not self._ending:
            try:
                _first_words(*self._start())
            except ServiceError as error:  # the engine is away: the other workers say so, this one comes later
                logger.error("no worker: %s", error)
                self._running.pop()
                time.sleep(1.0)
            else:
                return

    def _tell(self, number: int) -> None:
        for worker in self._running:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, number)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def end(*_: object) -> None:
            self._ending = True
            self._tell(signal.SIGTERM)

        def reload(*_: object) -> None:
            self._tell(signal.SIGHUP)

        wanted = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload}
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _counting() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="distillir-metrics-") as folder:
        os.environ[SHARED] = folder  # read by the workers when they import the library
        try:
            yield
        finally:
            del os.environ[SHARED]


def _first_words(worker: BaseProcess, ours: Connection) -> str:
    """What a worker says when it takes requests.

    Raises:
        ServiceError: it ended before.
    """
    with ours:
        try:
            told, cause, cure = ours.recv()
        except EOFError:
            worker.join()
            told, cause, cure = "failed", f"a worker ended before it took requests ({worker.exitcode})", "see its log"
    if told == "failed":
        raise ServiceError(503, cause, cure)
    return str(cause)


def _child(work: Work, listener: socket.socket, told: Connection, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says when to end
    try:
        work(listener, lambda line: told.send(("ready", line, "")), *arguments)
    except DistillirError as error:
        told.send(("failed", error.cause, error.cure))
