"""What the service answers: search, encode, rerank, respond, compare."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distillir.conversation import Conversation
from distillir.errors import DistillirError, SearchIndexError, ServiceError
from distillir.index.filters import where_tokens
from distillir.search import Hit
from distillir.search.rerank import DEPTH, rerank_hits
from distillir.serving import schema
from distillir.serving.generation import Generation
from distillir.serving.service import Service


class Clock:
    """Milliseconds by step."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter()
        self.ms: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Since the last lap."""
        now = time.perf_counter()
        self.ms[step] = round((now - self._last) * 1e3, 3)
        self._last = now

    def total(self) -> dict[str, float]:
        """All steps and their sum."""
        return {**self.ms, "total": round((time.perf_counter() - self._begun) * 1e3, 3)}


class Answers:
    """Answers requests with what a service serves at that moment."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def search(self, body: schema.Search) -> dict[str, Any]:
        """Hits for the open question of a conversation."""
        clock, request = Clock(), secrets.token_hex(8)
        chat, where = self._chat_of(body), _checked(body.filter)
        self._check_k(body.k)
        with self._service.using() as gen:
            searcher = gen.search()
            ranker = gen.rank() if body.rerank else None
            query = await searcher.query(chat)
            clock.lap("encode")
            depth = max(body.k, DEPTH) if ranker else body.k
            async with searcher.collection.lock.reading():
                served = searcher.served
                hits = await self._service.thread(lambda: searcher.find(query, depth, where, terms=body.explain))
            clock.lap("search")
            student, answered_by = hits, "student"
            confidence = gen.confidence.of([hit.score for hit in hits]) if gen.confidence else None
            if (
                self._service.fallback
                and gen.confidence
                and confidence is not None
                and confidence < gen.confidence.threshold
            ):
                rewritten = await self._rewritten(gen, chat, depth, where, terms=body.explain)
                if rewritten is not None:
                    (served, hits), answered_by = rewritten, "rewrite"
                clock.lap("rewrite")
            if ranker is not None:
                hits = (await gen.ranking(lambda: rerank_hits(ranker, [chat], [hits], body.k)))[0]
                clock.lap("rerank")
            reply: dict[str, Any] = {
                "served": served,
                "hits": [_hit(hit, texts=body.texts, terms=body.explain) for hit in hits],
                "active_dims": len(query.indices),
                "answered_by": answered_by,
                "confidence": confidence,
                "request": request,
                "query": [vars(origin) for origin in await searcher.origins(chat, query)] if body.explain else None,
                "ms": clock.total(),
            }
        for step, ms in clock.ms.items():
            self._service.metrics.step.labels(step).observe(ms / 1e3)
        found = [hit.id for hit in student]
        self._service.shadowing.note(request, chat, body.rewrite, where, found, served, confidence, reply["ms"])
        return reply

    async def encode(self, body: schema.Encode) -> dict[str, Any]:
        """The query as weighted terms."""
        clock, chat = Clock(), self._chat_of(body)
        with self._service.using() as gen:
            searcher = gen.search()
            query = await searcher.query(chat)
            origins = await searcher.origins(chat, query) if body.explain else None
            order = (-query.values).argsort(kind="stable")[: body.top]
            terms = searcher.retriever.encoder.terms(query.indices[order].tolist())
            return {
                "served": searcher.served,
                "terms": dict(zip(terms, query.values[order].tolist(), strict=True)),
                "active_dims": len(query.indices),
                "query": None if origins is None else [vars(origin) for origin in origins[: body.top]],
                "ms": clock.total(),
            }

    async def respond(self, body: schema.Respond) -> dict[str, Any]:
        """Responses of the fixed set, or none."""
        clock, chat, where = Clock(), self._chat_of(body), _checked(body.filter)
        self._check_k(body.k)
        with self._service.using() as gen:
            responder = gen.respond()
            found = await gen.responding(lambda: responder.respond(chat, body.k, where))
            rows = [{"id": f.id, "score": f.score, "text": f.text, "metadata": f.payload} for f in found]
            return {"served": gen.answering, "responses": rows, "ms": clock.total()}

    async def rerank(self, body: schema.Rerank) -> dict[str, Any]:
        """Candidates in the reranker's order."""
        clock, chat = Clock(), self._chat_of(body)
        if len(body.documents) > self._service.settings.max_k:
            raise ServiceError(422, f"{len(body.documents)} documents", f"send at most {self._service.settings.max_k}")
        with self._service.using() as gen:
            ranker, served = gen.rank(), gen.served
            own = [one.id for one in body.documents if one.text is None]
            texts = {}
            if own:
                searcher = gen.search()
                async with searcher.collection.lock.reading():
                    served = searcher.served
                    texts = await self._service.thread(lambda: _known(searcher.retriever.documents, own))
            pairs = [(chat, texts.get(d.id) or _contents(d.title, d.text or "")) for d in body.documents]
            scores = (await gen.ranking(lambda: ranker.predict(pairs))).tolist()
            best = sorted(zip(body.documents, scores, strict=True), key=lambda pair: -pair[1])[: body.k]
            ranking = [{"id": document.id, "score": score} for document, score in best]
            return {"served": served, "ranking": ranking, "ms": clock.total()}

    async def compare(self, body: schema.Search) -> dict[str, Any]:
        """The last turn alone, the student, and the rewrite, where there is a rewriter."""
        chat, where = self._chat_of(body), _checked(body.filter)
        self._check_k(body.k)
        alone = Conversation.from_pairs([], chat.question)
        with self._service.using() as gen:
            searcher = gen.search()
            await self._service.encoder_of(gen)  # opened before clocks run
            reply: dict[str, Any] = {"failure": "", "rewrite": None}
            begun = time.perf_counter()
            query = await searcher.query(chat)
            async with searcher.collection.lock.reading():
                reply["served"] = searcher.served
                hits = await self._service.thread(lambda: searcher.find(query, body.k, where, terms=True))
            reply["student"] = _view(hits, begun, len(query.indices), "")
            begun = time.perf_counter()
            _, hits, size = await self._service.by_text(gen, alone.question, body.k, where, terms=True)
            reply["last_turn"] = _view(hits, begun, size, alone.question)
            if self._service.rewriter is not None:
                begun = time.perf_counter()
                made = await self._service.rewriter.rewrite(chat)
                if made.failure:
                    reply["failure"] = made.failure
                else:
                    _, hits, size = await self._service.by_text(gen, made.text, body.k, where, terms=True)
                    reply["rewrite"] = _view(hits, begun, size, made.text)
            return reply

    async def _rewritten(
        self, gen: Generation, chat: Conversation, k: int, where: Mapping[str, Any] | None, *, terms: bool
    ) -> tuple[dict[str, str], list[Hit]] | None:
        if self._service.rewriter is None or chat.depth == 1:
            return None
        made = await self._service.rewriter.rewrite(chat)
        self._service.metrics.fallbacks.labels("failed" if made.failure else "rewritten").inc()
        if made.failure:
            return None
        served, hits, _ = await self._service.by_text(gen, made.text, k, where, terms=terms)
        return served, hits

    def _chat_of(self, body: schema.Chat) -> Conversation:
        """The conversation of a request.

        Raises:
            ServiceError: too many messages. ConversationError: no conversation, or a blank question.
        """
        if len(body.messages) > self._service.settings.max_turns:
            raise ServiceError(
                422,
                f"{len(body.messages)} messages",
                f"send the last {self._service.settings.max_turns}: older ones say little",
            )
        chat = Conversation.from_messages([message.model_dump() for message in body.messages])
        if not chat.question.strip():
            raise ServiceError(422, "the last message is blank: nothing to search for", "ask in words")
        return chat

    def _check_k(self, k: int) -> None:
        if k > self._service.settings.max_k:
            raise ServiceError(422, f"k is {k}", f"ask for at most {self._service.settings.max_k}")


def _checked(where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    try:
        where_tokens(where or {})
    except SearchIndexError as error:
        raise ServiceError(422, error.cause, error.cure) from error
    return where


def _hit(hit: Hit, *, texts: bool, terms: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if texts:
        row |= {"title": hit.title, "text": hit.text, "metadata": dict(hit.metadata)}
    if terms:
        row["terms"] = [{"term": term, "weight": weight} for term, weight in hit.terms]
    return row


def _view(hits: Sequence[Hit], begun: float, active: int, query: str) -> dict[str, Any]:
    shown = [_hit(hit, texts=True, terms=True) for hit in hits]
    ms = round((time.perf_counter() - begun) * 1e3, 3)
    return {"hits": shown, "ms": ms, "active_dims": active, "query": query}


def _known(documents: Callable[[Sequence[str]], Sequence[Any]], ids: Sequence[str]) -> dict[str, str]:
    try:
        return {one.id: one.contents for one in documents(ids)}
    except DistillirError as error:
        raise ServiceError(422, error.cause, "send the text along, or an id that is in the index") from error


def _contents(title: str, text: str) -> str:
    return f"{title} {text}" if title else text
