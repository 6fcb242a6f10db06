"""The label store: every reply of every teacher, paid for once, in one SQLite file on a local disk.

A label is committed before `put` returns and survives a killed process. Several processes may write
at once: transactions are short, and leases keep two of them from asking the same question.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distillir.errors import LabelError
from distillir.labels.place import refuse_network_place
from distillir.labels.records import Kind, Label, LabelRequest, canonical_json
from distillir.labels.schema import prepare

LABEL_COLUMNS = "kind, value, raw, status, model_id, tokens_in, tokens_out, seconds, cost, created"
PAGE = 500


@dataclass(frozen=True)
class StoredLabel:
    """A label with what was asked for it; the input itself is kept as a hash."""

    key: str
    teacher: str
    model: str
    prompt_version: str
    parameters: dict[str, Any]
    sample_index: int
    input_hash: str
    context_ids: tuple[str, ...]
    label: Label


@dataclass(frozen=True)
class TeacherSummary:
    """What one teacher, model and prompt gave and cost; `takeovers` calls were possibly paid twice."""

    teacher: str
    model: str
    prompt_version: str
    ok: int
    repaired: int
    malformed: int
    tokens_in: int
    tokens_out: int
    seconds: float
    cost: float
    takeovers: int


class LabelStore:
    """Open or create the store at `path`; usable as a context manager and from several threads.

    Args:
        path: a file on a local disk; its folder is made when missing.
        clock: seconds since the epoch, for leases.

    Raises:
        LabelError: a network file system, a file that is no label store, a newer schema, a damaged file.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._lock = threading.RLock()
        self._process = os.getpid()
        refuse_network_place(self.path)
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            try:
                # Labels are paid for: a commit waits for the disk.
                self._db.execute("PRAGMA synchronous = FULL")
                prepare(self._db, self.path)
                if self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                    raise LabelError(f"{self.path}: no write-ahead log here", "put the label store on a local disk")
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        with self._reading() as db:
            return int(db.execute("SELECT count(*) FROM labels").fetchone()[0])

    def get(self, key: str) -> Label | None:
        """The label of a request's key, None if it was never committed."""
        with self._reading() as db:
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
        with self._writing() as db:
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
        with self._writing() as db:
            return _missing(db, requests)

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
        held = []
        with self._writing() as db:
            now = self._clock()
            for request in _missing(db, requests):
                lease = db.execute("SELECT worker, until FROM leases WHERE key = ?", (request.key,)).fetchone()
                if lease and lease[0] != worker:
                    if lease[1] > now:
                        continue
                    asked = (request.key, request.teacher, request.model, request.prompt_version, worker)
                    db.execute("INSERT INTO takeovers VALUES (?, ?, ?, ?, ?)", asked)
                db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (request.key, worker, now + ttl))
                held.append(request)
        return held

    def release(self, requests: Iterable[LabelRequest], worker: str) -> None:
        """Give back what `worker` holds of these, unasked."""
        with self._writing() as db:
            for request in requests:
                db.execute("DELETE FROM leases WHERE key = ? AND worker = ?", (request.key, worker))

    def teachers(self) -> list[TeacherSummary]:
        """Counts, tokens, time and cost of each teacher, model and prompt version."""
        with self._reading() as db:
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
            with self._reading() as db:
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
        with self._reading() as db:
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

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            if os.getpid() != self._process:
                raise LabelError(f"{self.path} was opened by another process", "open the store after forking")
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            cure = "another process writes for too long" if "locked" in str(error) else "check folder, rights and space"
            raise LabelError(f"{self.path}: {error}", cure) from error
        except sqlite3.ProgrammingError as error:
            raise LabelError(f"{self.path}: {error}", "the store is closed; open it again") from error
        except sqlite3.DatabaseError as error:
            raise LabelError(f"{self.path} is no label store or a damaged one: {error}", "restore a copy") from error
        except OSError as error:
            raise LabelError(f"{self.path}: {error.strerror or error}", "check folder, rights and space") from error


def _refuse_mixture(teacher: str, found: Iterable[Sequence[str]]) -> None:
    """Labels of one teacher that must not be mixed: rows of (context, value, status, model, prompt version, parameters)."""
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
    return Label(kind, json.loads(value), *rest)
