"""What is served, and how it changes: documents added and deleted, models and indexes swapped, an orderly end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from distillir.conversation import Conversation
from distillir.errors import DistillirError, ServiceError
from distillir.search import Hit
from distillir.serving.cluster import ELSEWHERE
from distillir.serving.desk import Desk
from distillir.serving.generation import Generation
from distillir.serving.journal import Journal
from distillir.serving.metrics import Metrics
from distillir.serving.rewriter import Rewriter
from distillir.serving.settings import ServeSettings
from distillir.serving.shadow import ShadowLog, ShadowSettings
from distillir.serving.shadowing import Shadowing
from distillir.training.memory import give_back

Done = TypeVar("Done")
WAITING = 16  # searches at once where an engine elsewhere does the work
Open = Callable[[Generation | None], Generation]


class Service:
    """One process, one event loop.

    Args:
        open_generation: opens what is to be served now; given the present generation, it may share its collection.
        journal: of added and deleted documents; None where others change them.
        state: folder of the shadow log.
        settings: limits and times. metrics: counters.
        rewriter: language model for shadow, comparison and fallback. shadow: what is compared.
        fallback: ask the rewriter where confidence is low.
    """

    def __init__(
        self,
        open_generation: Open,
        journal: Journal | None,
        state: Path,
        settings: ServeSettings,
        metrics: Metrics,
        *,
        rewriter: Rewriter | None = None,
        shadow: ShadowSettings | None = None,
        fallback: bool = False,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.journal = journal
        self.desk = Desk(settings, metrics)
        self.rewriter = rewriter
        self.fallback = fallback
        self._open = open_generation
        self._changing = asyncio.Lock()
        many = (os.cpu_count() or 1) if journal is not None else WAITING
        self._threads = ThreadPoolExecutor(many, thread_name_prefix="search")
        self._documents = ThreadPoolExecutor(1, thread_name_prefix="documents")
        self.current = open_generation(None)
        self.shadowing = Shadowing(self, shadow or ShadowSettings(), ShadowLog(state))
        self._count()

    async def change(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Add or delete documents; once this returns, the change survives a crash and every later search sees it."""
        if (journal := self.journal) is None:
            raise ServiceError(409, "this service does not change documents", ELSEWHERE)
        async with self._changing:
            with self.using() as gen:
                collection = gen.search().collection
                vectors = await self._document_thread(lambda: collection.encode(change))
                async with collection.lock.writing():
                    seq = await self._document_thread(lambda: journal.append(change))
                    try:
                        await self._document_thread(lambda: collection.apply(change, vectors, seq))
                    except BaseException:
                        journal.undo()
                        raise
                self._count()
                return {"served": gen.served, "documents": len(collection.index)}

    async def reload(self) -> dict[str, Any]:
        """Serve what the run folder holds now; requests that began before end with what they began with.

        Documents that were added or deleted over HTTP stay so in the new index.
        """
        async with self._changing:
            before = self.current
            told = before.served
            fresh = await asyncio.to_thread(self._open, before)
            self.current = fresh
            before.lent = fresh.responder is before.responder
            before.retire()
            self.metrics.reloads.inc()
            self._count()
            # Models come and go in blocks that would stay with the process, some megabytes more with every swap.
            await asyncio.to_thread(give_back)
            return {"before": told, "served": fresh.served}

    # Shared by shadow, comparison and fallback

    async def by_text(
        self, gen: Generation, text: str, k: int, where: Mapping[str, Any] | None, *, terms: bool = False
    ) -> tuple[dict[str, str], list[Hit], int]:
        """Versions, hits and terms of a question that stands alone, read by the encoder of the documents."""
        searcher = gen.search()
        encoder = await self.encoder_of(gen)
        alone = Conversation.from_pairs([], text)
        rows = await self._document_thread(lambda: encoder.encode_queries([alone]))
        query = searcher.sparse(rows)
        if not len(query.indices):
            return searcher.served, [], 0
        async with searcher.collection.lock.reading():
            served = searcher.served
            hits = await self.thread(lambda: searcher.find(query, k, where, terms=terms))
        return served, hits, len(query.indices)

    async def encoder_of(self, gen: Generation) -> Any:
        """The encoder of the documents, opened at its first use."""
        return await self._document_thread(lambda: gen.search().collection.encoder)

    async def _document_thread(self, call: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(self._documents, call)

    async def thread(self, call: Callable[[], Done]) -> Done:
        """The result of a call in a thread of those that search."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @contextmanager
    def using(self) -> Iterator[Generation]:
        """The present generation, kept open inside."""
        gen = self.current
        with gen.used():
            yield gen

    async def close(self) -> None:
        """End: take nothing more, let what runs come to its end, close everything."""
        await self.desk.drain()
        await self.shadowing.drain()
        self.current.retire()
        if self.journal is not None:
            self.journal.close()
        for pool in (self._threads, self._documents):
            pool.shutdown(wait=False)

    def _count(self) -> None:
        if self.current.searcher is not None:
            self.metrics.documents.set(len(self.current.searcher.collection.index))
            self.metrics.changes.set(self.current.searcher.collection.seq)


async def guarded(work: Awaitable[Done]) -> Done:
    """Errors of this package as those of a service; what is not the request's fault is 503."""
    try:
        return await work
    except ServiceError:
        raise
    except DistillirError as error:
        status = 422 if type(error).__name__ in ("ConversationError", "ConfigError") else 503
        raise ServiceError(status, error.cause, error.cure, wait=5 if status == 503 else None) from error
