"""Contexts: conversations at one of their turns, with what is known about them, and their JSONL file.

One object a line:

    {"id": "42_3", "group": "42", "messages": [{"role": "user", "content": "…"}, …],
     "rewrite": "…" or {"teacher": "…"}, "relevant": ["d1"] or {"d1": 2}, "source": "…", "domain": "…"}

Only `id` and `messages` are required. A plain `rewrite` is the teacher "human"'s; listed documents have grade 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillir.conversation import Conversation
from distillir.data.files import replacing_lines
from distillir.data.rows import Row, read_json_rows
from distillir.errors import ConversationError, DataError

HUMAN = "human"
KEYS = frozenset({"id", "messages", "group", "rewrite", "relevant", "source", "domain"})


@dataclass(frozen=True)
class Context:
    """A conversation up to an open question, which is what gets searched.

    Attributes:
        id: query id in qrels and runs.
        conversation: history and the open question.
        group: the conversation it belongs to, the unit of splits, bootstrap and cross-validation; "" becomes the id.
        rewrites: teacher -> the question, rewritten to stand alone.
        relevant: document id -> grade above 0.
        source: data set it comes from.
        domain: corpus it is to be searched in; "" where there is only one.
    """

    id: str
    conversation: Conversation
    group: str = ""
    rewrites: Mapping[str, str] = field(default_factory=dict)
    relevant: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    domain: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)


def read_contexts(path: str | Path) -> list[Context]:
    """Read a conversations file, plain or gzipped.

    Raises:
        DataError: naming the line: an unknown key, a missing field, messages that are no conversation,
            a blank question, an empty rewrite, a grade below 1, an id given twice.
    """
    contexts: list[Context] = []
    lines: dict[str, int] = {}
    for row in read_json_rows(path):
        context = _read(row)
        if context.id in lines:
            row.refuse(f"id {context.id!r} is already on line {lines[context.id]}", "give each context its own id")
        lines[context.id] = row.line
        contexts.append(context)
    return contexts


def write_contexts(path: str | Path, contexts: Iterable[Context]) -> None:
    """Write a conversations file, all or nothing; gzipped when the name ends in .gz."""
    with replacing_lines(path) as out:
        for context in contexts:
            row: dict[str, Any] = {"id": context.id}
            if context.group != context.id:
                row["group"] = context.group
            row["messages"] = context.conversation.messages()
            if context.rewrites:
                only_human = list(context.rewrites) == [HUMAN]
                row["rewrite"] = context.rewrites[HUMAN] if only_human else dict(context.rewrites)
            if context.relevant:
                row["relevant"] = dict(context.relevant)
            row |= {name: value for name in ("source", "domain") if (value := getattr(context, name))}
            try:
                out.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            except UnicodeEncodeError:
                raise DataError(path, f"context {context.id!r} holds half a character (a lone surrogate)") from None


def _read(row: Row) -> Context:
    unknown = sorted(set(row.values) - KEYS)
    if unknown:
        row.refuse(f"unknown key {unknown[0]!r}", f"known are: {', '.join(sorted(KEYS))}")
    name = row.filled("id")
    messages = [message.values for message in row.rows("messages")]
    try:
        conversation = Conversation.from_messages(messages, id=name)
    except ConversationError as error:
        row.refuse(error.cause, error.cure)
    if not conversation.question.strip():
        row.refuse("the open question is blank", "leave the row out, or end it with a question")
    optional = {key: row.text(key) for key in ("group", "source", "domain") if key in row.values}
    return Context(name, conversation, rewrites=_rewrites(row), relevant=_relevant(row), **optional)


def _rewrites(row: Row) -> dict[str, str]:
    value = row.values.get("rewrite", {})
    rewrites = {HUMAN: value} if isinstance(value, str) else value
    if not isinstance(rewrites, dict) or not all(isinstance(text, str) for text in rewrites.values()):
        row.refuse("'rewrite' is neither a string nor teacher -> string")
    blank = [teacher for teacher, text in rewrites.items() if not text.strip() or not teacher]
    if blank:
        row.refuse(f"the rewrite of teacher {blank[0]!r} is blank", "leave it out")
    return rewrites


def _relevant(row: Row) -> dict[str, int]:
    value = row.values.get("relevant", {})
    if isinstance(value, list) and all(isinstance(document, str) for document in value):
        return dict.fromkeys(value, 1)
    if not isinstance(value, dict) or not all(type(grade) is int and grade > 0 for grade in value.values()):
        row.refuse("'relevant' is neither a list of document ids nor id -> grade of 1 or more")
    return value
