"""A label as a row of the store, there and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from distillir.errors import LabelError
from distillir.labels.records import Asked, Label, LabelRequest, canonical_json

ASKED_COLUMNS = "key, teacher, model, prompt_version, parameters, sample_index, input_hash"
LABEL_COLUMNS = (
    "kind, value, raw, status, model_id, tokens_in, tokens_out, seconds, cost, created, reason, attempts, scale"
)
INSERT = (
    f"INSERT INTO labels ({ASKED_COLUMNS}, {LABEL_COLUMNS}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(f'{ASKED_COLUMNS}, {LABEL_COLUMNS}'.split(',')))})"
)


def row_of(asked: Asked, label: Label, value: str) -> tuple[Any, ...]:
    """What `INSERT` takes; `value` is the label's in canonical JSON."""
    parameters = canonical_json(dict(asked.parameters))
    question = (asked.key, asked.teacher, asked.model, asked.prompt_version, parameters, asked.sample_index)
    spent = (label.tokens_in, label.tokens_out, float(label.seconds), float(label.cost))
    answer = (label.kind, value, label.raw, label.status, label.model_id)
    return (
        *question, asked.input_hash, *answer, *spent, label.created or now(), label.reason, label.attempts, label.scale
    )  # fmt: skip


def label_of(row: Sequence[Any]) -> Label:
    """A label from `LABEL_COLUMNS`.

    Raises:
        LabelError: the row is damaged.
    """
    kind, value, *rest = row
    try:
        return Label(kind, json.loads(value), *rest)
    except (ValueError, TypeError) as error:
        raise LabelError(f"a damaged label, {value[:60]!r}: {error}", "restore a copy of the store") from None


def note_use(db: sqlite3.Connection, context_id: str, key: str) -> None:
    """The context's latest request is the one of `key`."""
    if context_id:
        db.execute("INSERT OR REPLACE INTO uses (context_id, key) VALUES (?, ?)", (context_id, key))


def note_conflict(db: sqlite3.Connection, key: str, label: Label, value: str, origin: str) -> None:
    """Keep an answer to a question that had another one."""
    db.execute(
        "INSERT OR IGNORE INTO conflicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (key, label.kind, value, label.raw, label.status, float(label.cost), label.created or now(), origin),
    )


def open_requests(db: sqlite3.Connection, requests: Sequence[LabelRequest]) -> list[LabelRequest]:
    """Those without a label, each key once; the contexts of all are noted."""
    wanted: dict[str, LabelRequest] = {}
    for request in requests:
        note_use(db, request.context_id, request.key)
        if not db.execute("SELECT 1 FROM labels WHERE key = ?", (request.key,)).fetchone():
            wanted.setdefault(request.key, request)
    return list(wanted.values())


def lease(db: sqlite3.Connection, request: LabelRequest, worker: str, moment: float, until: float) -> bool:
    """Give `worker` the request until then, unless somebody else holds it; a lease that ran out is noted."""
    held = db.execute("SELECT worker, until FROM leases WHERE key = ?", (request.key,)).fetchone()
    asked = (request.key, request.teacher, request.model, request.prompt_version)
    if held and held[0] != worker:
        if held[1] > moment:
            return False
        db.execute("INSERT INTO takeovers VALUES (?, ?, ?, ?, ?)", (*asked, worker))
    db.execute(
        "INSERT OR REPLACE INTO leases (key, teacher, model, prompt_version, worker, until) VALUES (?, ?, ?, ?, ?, ?)",
        (*asked, worker, until),
    )
    return True


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
