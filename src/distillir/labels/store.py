"""The label store: every reply of every teacher, paid for once, in one SQLite file on a local disk.

A label is committed before `put` returns and survives a killed process. Several processes may write
at once: transactions are short, and leases keep two of them from asking the same question.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distillir.errors import LabelError
from distillir.labels.database import Database
from distillir.labels.records import Kind, Label, LabelRequest, StoredLabel, TeacherSummary, canonical_json

LABEL_COLUMNS = "kind, value, raw, status, model_id, tokens_in, tokens_out, seconds, cost, created"
PAGE = 500


class LabelStore(Database):
    """Open or create the store at `path`; usable as a context manager and from several threads.

    Args:
        path: a file on a local disk; its folder is made when missing.
        clock: seconds since the epoch, for leases.

    Raises:
        LabelError: a network file system, a file that is no label store, a newer schema, a damaged file.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._clock = clock

    def __len__(self) -> int:
        with self.reading() as db:
            return int(db.execute("SELECT count(*) FROM labels").fetchone()[0])

    def get(self, key: str) -> Label | None:
        """The label of a request's key, None if it was never committed."""
        with self.reading() as db:
            row = db.execute(f"SELECT {LABEL_COLUMNS} FROM labels WHERE key = ?", (key,)).fetchone()  # noqa: S608
        return None if row is None else _label(row)

    def put(self, request: LabelRequest, label: Label) -> bool:
        """Commit one label; see `put_many`. Returns whether it was new."""
        return self.put_many([(request, label)]) == 1

    def put_many(self, pairs: Iterable[tuple[LabelRequest, Label]]) -> int:
        """Commit labels, all or none, and end their leases. Returns how many were new.

        A label that is there already with the same value stays as it is.

        Raises:
            LabelError: a label that is there already with another value.
        """
        rows = [(request, label, canonical_json(label.value)) for request, label in pairs]
        new = 0
        with self.writing() as db:
            for request, label, value in rows:
                there = db.execute("SELECT kind, value FROM labels WHERE key = ?", (request.key,)).fetchone()
                if there is None:
                    db.execute(f"INSERT INTO labels VALUES ({', '.join('?' * 17)})", _row(request, label, value))  # noqa: S608
                    new += 1
                elif there != (label.kind, value):
                    raise LabelError(
                        f"{self.path}: teacher {request.teacher!r} already answered {there[1][:60]} for context "
                        f"{request.context_id!r}, not {value[:60]}",
                        "a new answer needs a new sample_index, prompt_version or model",
                    )
                _use(db, request)
                db.execute("DELETE FROM leases WHERE key = ?", (request.key,))
        return new

    def missing(self, requests: Iterable[LabelRequest]) -> list[LabelRequest]:
        """Requests that were never committed, each key once; malformed replies were, and are not asked again.

        The contexts of all requests are noted, so that contexts with one input share its label.
        """
        wanted: dict[str, LabelRequest] = {}
        for chunk in _chunks(requests):
            with self.writing() as db:
                wanted |= {request.key: request for request in _missing(db, chunk) if request.key not in wanted}
        return list(wanted.values())

    def claim(self, requests: Iterable[LabelRequest], worker: str, ttl: float) -> list[LabelRequest]:
        """Lease the missing requests that nobody else holds, for `ttl` seconds, and return them.

        A worker that claims what it holds extends its lease. A lease that ran out is anybody's, and counted.

        Args:
            requests: what is to be asked.
            worker: a name no other running worker has.
            ttl: longer than a call takes.
        """
        if ttl <= 0:
            raise LabelError(f"a lease of {ttl} seconds", "give it longer than a call takes")
        held: dict[str, LabelRequest] = {}
        for chunk in _chunks(requests):
            with self.writing() as db:
                now = self._clock()
                for request in _missing(db, chunk):
                    if _lease(db, request, worker, now, now + ttl):
                        held.setdefault(request.key, request)
        return list(held.values())

    def release(self, requests: Iterable[LabelRequest], worker: str) -> None:
        """Give back what `worker` holds of these, unasked."""
        held = [(request.key, worker) for request in requests]
        with self.writing() as db:
            db.executemany("DELETE FROM leases WHERE key = ? AND worker = ?", held)

    def teachers(self) -> list[TeacherSummary]:
        """Counts, tokens, time and cost of each teacher, model and prompt version."""
        with self.reading() as db:
            found = db.execute(
                "SELECT teacher, model, prompt_version, sum(status = 'ok'), sum(status = 'repaired'), "
                "sum(status = 'malformed'), sum(tokens_in), sum(tokens_out), sum(seconds), sum(cost), "
                "(SELECT count(*) FROM takeovers t WHERE (t.teacher, t.model, t.prompt_version) = "
                "(labels.teacher, labels.model, labels.prompt_version)) "
                "FROM labels GROUP BY teacher, model, prompt_version ORDER BY teacher, model, prompt_version"
            )
            return [TeacherSummary(*row) for row in found]

    def rows(self, teacher: str | None = None, kind: Kind | None = None) -> Iterator[StoredLabel]:
        """Labels in the order of storing, some hundred in memory at a time; writers are not held up."""
        last = 0
        while True:
            with self.reading() as db:
                page = db.execute(
                    "SELECT rowid, key, teacher, model, prompt_version, parameters, sample_index, input_hash, "  # noqa: S608
                    f"{LABEL_COLUMNS} FROM labels WHERE rowid > ? AND coalesce(?, teacher) = teacher "
                    "AND coalesce(?, kind) = kind ORDER BY rowid LIMIT ?",
                    (last, teacher, kind, PAGE),
                ).fetchall()
                uses = {row[1]: _contexts(db, row[1]) for row in page}
            for rowid, key, who, model, prompt, parameters, sample, input_hash, *rest in page:
                last = rowid
                asked = (key, who, model, prompt, json.loads(parameters), sample, input_hash)
                yield StoredLabel(*asked, uses[key], _label(rest))
            if len(page) < PAGE:
                return

    def values(
        self,
        teacher: str,
        kind: Kind,
        *,
        model: str | None = None,
        prompt_version: str | None = None,
        sample_index: int = 0,
    ) -> dict[str, Any]:
        """Context id -> value of one teacher's usable labels; malformed ones are left out.

        Of a context whose input changed, the label of the latest request counts.

        Raises:
            LabelError: labels of one model made with several prompts or parameters, or of several models for
                one context, and none was named. Several models for different contexts (data sets) are fine.
        """
        with self.reading() as db:
            found = db.execute(
                "SELECT context_id, value, status, model, prompt_version, parameters FROM uses JOIN labels USING (key) "
                "WHERE teacher = ? AND kind = ? AND sample_index = ? AND coalesce(?, model) = model "
                "AND coalesce(?, prompt_version) = prompt_version ORDER BY seq",
                (teacher, kind, sample_index, model, prompt_version),
            ).fetchall()
        _refuse_mixture(teacher, found)
        latest = {row[0]: row[1:3] for row in found}
        return {context: json.loads(value) for context, (value, status) in latest.items() if status != "malformed"}

    def rewrites(self, teacher: str, *, model: str | None = None, prompt_version: str | None = None) -> dict[str, str]:
        """Context id -> rewritten question, as `values`."""
        return self.values(teacher, "rewrite", model=model, prompt_version=prompt_version)


def _refuse_mixture(teacher: str, found: Iterable[Sequence[str]]) -> None:
    """Refuse rows (context, value, status, model, prompt version, parameters) that do not go together."""
    cure = "name the model and prompt_version, or give each its own teacher name"
    ways: dict[str, tuple[str, str]] = {}
    models: dict[str, str] = {}
    for context, _, _, model, *way in found:
        first = ways.setdefault(model, (way[0], way[1]))
        if first != (way[0], way[1]):
            raise LabelError(
                f"labels of {teacher!r} by {model!r} were made in two ways, {first} and {tuple(way)}", cure
            )
        other = models.setdefault(context, model)
        if other != model:
            raise LabelError(f"context {context!r} has labels of {teacher!r} by {other!r} and by {model!r}", cure)


def _chunks(requests: Iterable[LabelRequest]) -> Iterator[list[LabelRequest]]:
    """Short transactions: some hundred requests each, made before the transaction begins."""
    every = list(requests)
    yield from (every[i : i + PAGE] for i in range(0, len(every), PAGE))


def _lease(db: sqlite3.Connection, request: LabelRequest, worker: str, now: float, until: float) -> bool:
    lease = db.execute("SELECT worker, until FROM leases WHERE key = ?", (request.key,)).fetchone()
    if lease and lease[0] != worker:
        if lease[1] > now:
            return False
        asked = (request.key, request.teacher, request.model, request.prompt_version, worker)
        db.execute("INSERT INTO takeovers VALUES (?, ?, ?, ?, ?)", asked)
    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (request.key, worker, until))
    return True


def _missing(db: sqlite3.Connection, requests: Iterable[LabelRequest]) -> list[LabelRequest]:
    wanted: dict[str, LabelRequest] = {}
    for request in requests:
        _use(db, request)
        if not db.execute("SELECT 1 FROM labels WHERE key = ?", (request.key,)).fetchone():
            wanted.setdefault(request.key, request)
    return list(wanted.values())


def _use(db: sqlite3.Connection, request: LabelRequest) -> None:
    if request.context_id:
        db.execute("INSERT OR REPLACE INTO uses (context_id, key) VALUES (?, ?)", (request.context_id, request.key))


def _contexts(db: sqlite3.Connection, key: str) -> tuple[str, ...]:
    return tuple(row[0] for row in db.execute("SELECT context_id FROM uses WHERE key = ? ORDER BY seq", (key,)))


def _row(request: LabelRequest, label: Label, value: str) -> tuple[Any, ...]:
    asked = (request.key, request.teacher, request.model, request.prompt_version)
    asked_how = (canonical_json(dict(request.parameters)), request.sample_index, request.input_hash)
    spent = (label.tokens_in, label.tokens_out, float(label.seconds), float(label.cost))
    created = label.created or datetime.now(UTC).isoformat(timespec="seconds")
    return (*asked, *asked_how, label.kind, value, label.raw, label.status, label.model_id, *spent, created)


def _label(row: Sequence[Any]) -> Label:
    kind, value, *rest = row
    try:
        return Label(kind, json.loads(value), *rest)
    except ValueError as error:
        raise LabelError(f"a damaged label, {value[:60]!r}: {error}", "restore a copy of the store") from None
