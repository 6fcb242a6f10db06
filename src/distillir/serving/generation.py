"""What a request is answered with, from its beginning to its end: a swap gives later requests another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from distillir.errors import ServiceError
from distillir.search import PairScorer, ResponseRetriever
from distillir.serving.confidence import Confidence
from distillir.serving.searcher import Searcher

Done = TypeVar("Done")


class Alone:
    """Calls one after the other in one thread, as models want it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def __call__(self, call: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)


@dataclass
class Generation:
    """Models and documents that belong together.

    Attributes:
        searcher: finds documents. responder: finds responses. reranker: scores pairs. Each may be missing.
        responses: version of the set of responses.
        confidence: of the student's hits, where it was calibrated for exactly this student.
        lent: whether the next generation goes on using the responder.
    """

    searcher: Searcher | None = None
    responder: ResponseRetriever | None = None
    responses: str = ""
    reranker: PairScorer | None = None
    confidence: Confidence | None = None
    users: int = 0
    retired: bool = False
    lent: bool = False

    def __post_init__(self) -> None:
        self.ranking, self.responding = Alone(), Alone()

    def search(self) -> Searcher:
        """The searcher.

        Raises:
            ServiceError: there are no documents here.
        """
        return self._there(self.searcher, "no documents", "serve the run folder of a sparse recipe")

    def respond(self) -> ResponseRetriever:
        """The retriever of responses.

        Raises:
            ServiceError: there is none here.
        """
        return self._there(self.responder, "no responses", "start it with --responses RUN")

    def rank(self) -> PairScorer:
        """The reranker.

        Raises:
            ServiceError: there is none here.
        """
        return self._there(self.reranker, "no reranker", "start it with --reranker FOLDER")

    @property
    def served(self) -> dict[str, str]:
        """Versions of what is here: the searcher's where there is one."""
        if self.searcher is not None:
            return self.searcher.served
        return self.answering

    @property
    def answering(self) -> dict[str, str]:
        """Versions that a reply of responses names."""
        return {"model": self.respond().encoder.fingerprint(), "index": self.responses}

    def retire(self) -> None:
        """No further users; closed when the last one is done."""
        self.retired = True
        self._close_if_unused()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keeps everything open inside."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self.retired or self.users:
            return
        if self.searcher is not None:
            self.searcher.close()
        if self.responder is not None and not self.lent:
            self.responder.close()
        self.ranking.close()
        self.responding.close()

    @staticmethod
    def _there(part: Done | None, what: str, cure: str) -> Done:
        if part is None:
            raise ServiceError(409, f"this service has {what}", cure)
        return part
