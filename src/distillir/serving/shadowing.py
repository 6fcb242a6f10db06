"""Shadow comparisons of a running service: after the reply, a bounded number at once, and never in its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distillir.conversation import Conversation
from distillir.serving import schema
from distillir.serving.rewriter import Rewritten
from distillir.serving.shadow import DEPTH, ShadowLog, ShadowRow, ShadowSettings, now, overlap, rank_correlation
from distillir.teachers.requests import Usage

if TYPE_CHECKING:
    from distillir.serving.service import Service

logger = logging.getLogger(__name__)


class Shadowing:
    """Compares and logs.

    Args:
        service: whose hits they are. settings: what is compared. log: where rows go.
    """

    def __init__(self, service: Service, settings: ShadowSettings, log: ShadowLog) -> None:
        self.settings, self.log = settings, log
        self._service = service
        self._running: set[asyncio.Task[None]] = set()

    def note(
        self,
        request: str,
        chat: Conversation,
        brought: schema.Rewrite | None,
        where: Mapping[str, Any] | None,
        found: Sequence[str],
        served: Mapping[str, str],
        confidence: float | None,
        ms: Mapping[str, float],
    ) -> None:
        """Begin a comparison, where this request is to be compared."""
        wanted = self._service.rewriter is not None and self.settings.picks(request)
        if brought is None and not wanted:
            return
        if len(self._running) >= self.settings.running or self._service.desk.closing:
            self._service.metrics.shadowed.labels("left_out").inc()
            return
        student_ms = ms["encode"] + ms["search"]
        work = self._compare(request, chat, brought, where, found[:DEPTH], served, confidence, student_ms)
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait for what is running."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._service.settings.grace)

    async def _compare(
        self,
        request: str,
        chat: Conversation,
        brought: schema.Rewrite | None,
        where: Mapping[str, Any] | None,
        found: Sequence[str],
        served: Mapping[str, str],
        confidence: float | None,
        student_ms: float,
    ) -> None:
        try:
            made = await self._rewrite(chat, brought)
            hits: list[str] = []
            if not made.failure:
                with self._service.using() as gen:
                    found_by_text = await self._service.by_text(gen, made.text, DEPTH, where)
                    hits = [hit.id for hit in found_by_text[1]]
            name = self._service.rewriter.name if brought is None and self._service.rewriter else "brought along"
            shown = {"messages": chat.messages(), "rewrite": made.text} if self.settings.keep_texts else None
            row = ShadowRow(
                request=request,
                time=now(),
                depth=chat.depth,
                model=served["model"],
                index=served["index"],
                rewriter=name,
                overlap=overlap(found, hits),
                tau=rank_correlation(found, hits),
                student_ms=round(student_ms, 3),
                rewrite_ms=brought.ms if brought else round(made.seconds * 1e3, 3),
                prompt_tokens=made.usage.prompt_tokens,
                completion_tokens=made.usage.completion_tokens,
                cost=made.cost,
                currency=self._service.rewriter.prices.currency if self._service.rewriter else "USD",
                confidence=confidence,
                student=tuple(found),
                rewrite=tuple(hits),
                texts=shown,
                failure=made.failure,
            )
            await self._service.thread(lambda: self.log.write(row))
            self._service.metrics.shadowed.labels("failed" if made.failure else "compared").inc()
            if not made.failure:
                self._service.metrics.overlap.observe(row.overlap)
        except Exception as error:  # a comparison that fails costs a row, never a request
            self._service.metrics.shadowed.labels("failed").inc()
            logger.warning("a shadow comparison failed: %s", type(error).__name__)

    async def _rewrite(self, chat: Conversation, brought: schema.Rewrite | None) -> Rewritten:
        rewriter = self._service.rewriter
        if brought is None:
            assert rewriter is not None
            return await rewriter.rewrite(chat)
        usage = Usage(brought.prompt_tokens, brought.completion_tokens, (brought.ms or 0.0) / 1e3, calls=1)
        return Rewritten(brought.text, usage.seconds, usage, rewriter.prices.cost(usage) if rewriter else 0.0)
