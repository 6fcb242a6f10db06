"""Rewrites that exist already become labels, once, however often they are imported.

Their key holds the context's id besides its messages: people often know more than the messages show (an article's
title), so one question, "Where was he born?", rightly has another rewrite in another conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distillir.data import HUMAN, Context, Counts, LLMRewrites
from distillir.labels.parsing import parse_rewrite
from distillir.labels.records import Label, LabelRequest
from distillir.labels.store import LabelStore

IMPORTED = "imported"
CHUNK = 500


def import_rewrites(store: LabelStore, contexts: Iterable[Context], teacher: str = HUMAN, model: str = HUMAN) -> Counts:
    """Store what `context.rewrites[teacher]` says, keyed by the context; a second import changes nothing.

    Args:
        store: where to.
        contexts: with rewrites of any teachers; one without `teacher`'s is dropped.
        teacher: name of the rewrites and of the labels.
        model: who made them, for the label card: a data set's name and version, or a model.

    Raises:
        LabelError: the store has another rewrite for the same context, messages, teacher and model.
    """
    counts, batch = Counts(), _Batch(store)
    for context in contexts:
        counts.read += 1
        text = context.rewrites.get(teacher, "")
        if not text.strip():
            counts.dropped[f"no rewrite of {teacher!r}"] += 1
            continue
        request = LabelRequest(teacher, model, IMPORTED, _input(context), context_id=context.id)
        batch.add(request, Label("rewrite", text, raw=text, attempts=0))
    counts.noted["already there"] += batch.flush()
    counts.noted = +counts.noted
    return counts


def import_llm_rewrites(
    store: LabelStore,
    contexts: Iterable[Context],
    rewrites: LLMRewrites,
    *,
    teacher: str,
    model: str,
    prompt_version: str = IMPORTED,
    parameters: Mapping[str, Any] | None = None,
) -> Counts:
    """Store a model's replies, raw and repaired, with what they cost; malformed ones are stored as such.

    A first turn without a reply is its own rewrite, as nobody asks a model for it; other contexts
    without one are dropped.

    Raises:
        LabelError: the store has another rewrite for the same context, messages, model, prompt and parameters.
    """
    counts, batch = Counts(), _Batch(store)
    for context in contexts:
        counts.read += 1
        reply = rewrites.replies.get(context.id)
        if reply is not None:
            parsed = parse_rewrite(reply.reply, finish=reply.finish, question=context.conversation.question)
            label = Label(
                "rewrite",
                parsed.value,
                reply.reply,
                parsed.status,
                tokens_in=reply.tokens_in,
                tokens_out=reply.tokens_out,
                seconds=reply.seconds,
                reason=parsed.reason,
            )
            if parsed.status != "ok":
                counts.noted[parsed.status] += 1
        elif not context.conversation.exchanges:
            label = Label("rewrite", context.conversation.question, attempts=0)
            counts.noted["first turns, their own rewrite"] += 1
        else:
            counts.dropped["no reply"] += 1
            continue
        how = dict(parameters or {})
        request = LabelRequest(teacher, model, prompt_version, _input(context), how, context_id=context.id)
        batch.add(request, label)
    counts.noted["already there"] += batch.flush()
    counts.noted = +counts.noted
    return counts


def _input(context: Context) -> dict[str, Any]:
    return {"context": context.id, "messages": context.conversation.messages()}


class _Batch:
    """Pairs on their way into the store, some hundred to a transaction."""

    def __init__(self, store: LabelStore) -> None:
        self._store = store
        self._pairs: list[tuple[LabelRequest, Label]] = []
        self._known = 0

    def add(self, request: LabelRequest, label: Label) -> None:
        self._pairs.append((request, label))
        if len(self._pairs) >= CHUNK:
            self.flush()

    def flush(self) -> int:
        """Write what is left; how many of all were in the store before."""
        self._known += len(self._pairs) - self._store.put_many(self._pairs)
        self._pairs = []
        return self._known
