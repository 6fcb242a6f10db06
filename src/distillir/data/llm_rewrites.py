"""Replies of a large model that was asked to rewrite open questions, and what of them can be used.

One object a line: {_id = context, reply, finish, tokens_in, tokens_out, seconds}; a first turn needs no row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from distillir.data.conversations import Context
from distillir.data.rows import Counts, Row, read_json_rows

Status = Literal["ok", "repaired", "malformed"]

LABEL = re.compile(
    r"\s*\**(?:(?:re-?written|standalone|last) (?:question|query)|rewrite|question)\**\s*:\**", re.IGNORECASE
)
QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("`", "`"))


@dataclass(frozen=True)
class Repair:
    """What a reply is good for.

    Attributes:
        rewrite: the rewritten question, None when there is none to be had.
        status: "ok" as it stood, "repaired", or "malformed".
        reason: why it is malformed, else "".
    """

    rewrite: str | None
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class LLMReply:
    """A model's reply for one context, raw, and what it cost."""

    context_id: str
    reply: str
    finish: str
    tokens_in: int
    tokens_out: int
    seconds: float

    @property
    def repair(self) -> Repair:
        """The rewrite in it."""
        return repair_rewrite(self.reply, self.finish)


@dataclass(frozen=True)
class LLMRewrites:
    """Replies by context id, and what became of the rows (a malformed reply is kept here, and counted as dropped)."""

    replies: Mapping[str, LLMReply]
    counts: Counts

    def attach(self, contexts: Iterable[Context], teacher: str) -> Iterator[Context]:
        """The contexts with `teacher`'s rewrite added; a first turn is its own, a malformed reply gives none."""
        for context in contexts:
            reply = self.replies.get(context.id)
            if reply is not None:
                text = reply.repair.rewrite
            else:
                text = None if context.conversation.exchanges else context.conversation.question
            yield replace(context, rewrites={**context.rewrites, teacher: text}) if text else context


def repair_rewrite(reply: str, finish: str = "stop") -> Repair:
    """Take the question out of a reply, or nothing: no guess is made.

    A reply that did not end by itself (`finish` is not "stop") or is blank is malformed. Otherwise a label such as
    "Rewritten question:" in front is taken off, then the first line counts, without quotation marks around it.
    """
    if finish != "stop":
        return Repair(None, "malformed", f"finish is {finish!r}")
    text = LABEL.sub("", reply, count=1) if LABEL.match(reply) else reply
    text = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for opening, closing in QUOTES:
        inner = text[1:-1]
        if (
            len(text) > 2
            and text[0] == opening
            and text[-1] == closing
            and opening not in inner
            and closing not in inner
        ):
            text = inner.strip()
    if not text:
        return Repair(None, "malformed", "nothing in it")
    return Repair(text, "ok" if text == reply.strip() else "repaired")


def load_llm_rewrites(path: str | Path) -> LLMRewrites:
    """Read replies.

    Raises:
        DataError: naming the line; a context answered twice.
    """
    counts = Counts()
    replies: dict[str, LLMReply] = {}
    for row in read_json_rows(path):
        counts.read += 1
        name = row.filled("_id")
        if name in replies:
            row.refuse(f"context {name!r} was answered before")
        replies[name] = reply = LLMReply(
            name,
            row.text("reply"),
            row.text("finish"),
            _count(row, "tokens_in"),
            _count(row, "tokens_out"),
            _seconds(row),
        )
        if reply.repair.status == "malformed":
            counts.dropped[reply.repair.reason] += 1
        elif reply.repair.status == "repaired":
            counts.noted["repaired"] += 1
    return LLMRewrites(replies, counts)


def _count(row: Row, name: str) -> int:
    value = int(row.get(name, int, "an integer"))
    if value < 0:
        row.refuse(f"field {name!r} is {value}")
    return value


def _seconds(row: Row) -> float:
    value = row.values.get("seconds", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        row.refuse(f"field 'seconds' is {value!r}, not a time")
    return float(value)
