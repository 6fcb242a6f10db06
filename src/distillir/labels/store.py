"""The label store: every reply of every teacher, paid for once, in one SQLite file on a local disk.

A label is committed before `put` returns and survives a killed process. Several processes may write
at once: transactions are short, and leases keep two of them from asking the same question.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from distillir.errors import LabelError
from distillir.labels.reader import LabelReader, chunks
from distillir.labels.records import Asked, Label, LabelRequest, StoredLabel, canonical_json
from distillir.labels.rows import INSERT, lease, note_conflict, note_use, now, open_requests, row_of


@dataclass(frozen=True)
class Conflict:
    """A second answer to one question: the committed one stays, this one is kept aside.

    Attributes:
        key: of the request.
        teacher: who answered twice.
        context_id: one context it is for, "" if none.
        kept: the committed value, canonical JSON.
        refused: the other value, canonical JSON.
        origin: where the other one came from.
    """

    key: str
    teacher: str
    context_id: str
    kept: str
    refused: str
    origin: str


@dataclass
class Taken:
    """What became of labels from elsewhere: `read` = `new` + `already` + conflicts."""

    read: int = 0
    new: int = 0
    already: int = 0
    conflicts: list[Conflict] = field(default_factory=list)


class LabelStore(LabelReader):
    """Open or create the store at `path`; usable as a context manager and from several threads.

    A store written by an older distillir is brought up to date in one transaction.

    Args:
        path: a file on a local disk; its folder is made when missing.
        clock: seconds since the epoch, for leases.
        create: False refuses a file that is not there.

    Raises:
        LabelError: a network file system, a file that is no label store, a newer schema, a damaged file.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time, *, create: bool = True) -> None:
        if not create and not Path(path).is_file():
            raise LabelError(f"{path}: no label store here", "check the path")
        super().__init__(path)
        self._clock = clock

    def put(self, request: LabelRequest, label: Label) -> bool:
        """Commit one label; see `put_many`. Returns whether it was new."""
        return self.put_many([(request, label)]) == 1

    def put_many(self, pairs: Iterable[tuple[LabelRequest, Label]], *, keep_first: bool = False) -> int:
        """Commit labels, all or none, and end their leases. Returns how many were new.

        A label that is there already with the same value stays as it is.

        Args:
            pairs: requests and their labels.
            keep_first: a label that is there already with another value stays too, and the new one is kept aside
                as a conflict: what a worker does whose call outlived its lease.

        Raises:
            LabelError: a label that is there already with another value, unless `keep_first`.
        """
        taken, rows = Taken(), [(request, label, canonical_json(label.value)) for request, label in pairs]
        with self.writing() as db:
            for request, label, value in rows:
                there = self._take(db, request, label, value, taken, request.context_id, request.teacher)
                if there is not None and not keep_first:
                    raise LabelError(
                        f"{self.path}: teacher {request.teacher!r} already answered {there[:60]} for context "
                        f"{request.context_id!r}, not {value[:60]}",
                        "a new answer needs a new sample_index, prompt_version or model",
                    )
                note_use(db, request.context_id, request.key)
                db.execute("DELETE FROM leases WHERE key = ?", (request.key,))
        return taken.new

    def take(self, rows: Iterable[StoredLabel], origin: str, uses: Iterable[tuple[str, str]] | None = None) -> Taken:
        """Commit labels made elsewhere; of two answers to one question the one committed first stays.

        Labels are committed some hundred at a time, so an interrupted call is simply repeated. The label that counts
        for a context here goes on to count.

        Args:
            rows: as another store's `rows()` gives them.
            origin: where they come from, for the conflicts.
            uses: (context, key) of the other store, latest last; None = as the rows have them.
        """
        taken, pairs = Taken(), list(uses or ())
        for chunk in chunks(rows):
            values = [canonical_json(row.label.value) for row in chunk]
            with self.writing() as db:
                for row, value in zip(chunk, values, strict=True):
                    taken.read += 1
                    context = row.context_ids[0] if row.context_ids else ""
                    self._take(db, row, row.label, value, taken, context, origin)
                    db.execute("DELETE FROM leases WHERE key = ?", (row.key,))
            if uses is None:
                pairs += [(name, row.key) for row in chunk for name in row.context_ids]
        # Below all that is there, the last chunk first: their order holds, also when this is interrupted and repeated.
        for part in list(chunks(pairs))[::-1]:
            with self.writing() as db:
                there = "SELECT 1 FROM uses WHERE context_id = ? AND key = ?"
                new = [pair for pair in part if not db.execute(there, pair).fetchone()]
                least = db.execute("SELECT coalesce(min(seq), 1) FROM uses").fetchone()[0]
                numbered = [(least - len(new) + i, *pair) for i, pair in enumerate(new)]
                db.executemany("INSERT OR REPLACE INTO uses (seq, context_id, key) VALUES (?, ?, ?)", numbered)
        return taken

    def _take(
        self, db: sqlite3.Connection, asked: Asked, label: Label, value: str, taken: Taken, context: str, origin: str
    ) -> str | None:
        """Insert a label, or tell the other value that is there."""
        there = db.execute("SELECT kind, value FROM labels WHERE key = ?", (asked.key,)).fetchone()
        if there is None:
            db.execute(INSERT, row_of(asked, label, value))
            taken.new += 1
        elif there == (label.kind, value):
            taken.already += 1
        else:
            note_conflict(db, asked.key, label, value, origin)
            taken.conflicts.append(Conflict(asked.key, asked.teacher, context, there[1], value, origin))
            return str(there[1])
        return None

    def conflicts(self) -> list[Conflict]:
        """Answers kept aside because their question had another one, in the order they came."""
        with self.reading() as db:
            found = db.execute(
                "SELECT c.key, l.teacher, coalesce(min(u.context_id), ''), l.value, c.value, c.origin FROM conflicts c "
                "JOIN labels l USING (key) LEFT JOIN uses u USING (key) GROUP BY c.rowid ORDER BY c.rowid"
            )
            return [Conflict(*row) for row in found]

    def missing(self, requests: Iterable[LabelRequest]) -> list[LabelRequest]:
        """Requests that were never committed, each key once; malformed replies were, and are not asked again.

        The contexts of all requests are noted, so that contexts with one input share its label.
        """
        wanted: dict[str, LabelRequest] = {}
        for chunk in chunks(requests):
            with self.writing() as db:
                wanted |= {request.key: request for request in open_requests(db, chunk) if request.key not in wanted}
        return list(wanted.values())

    def claim(self, requests: Iterable[LabelRequest], worker: str, ttl: float) -> list[LabelRequest]:
        """Lease the missing requests that nobody else holds, for `ttl` seconds, and return them.

        A worker that claims what it holds extends its lease. A lease that ran out is anybody's, and counted.

        Args:
            requests: what is to be asked.
            worker: a name no other worker has or had.
            ttl: longer than a call takes.
        """
        if ttl <= 0:
            raise LabelError(f"a lease of {ttl} seconds", "give it longer than a call takes")
        held: dict[str, LabelRequest] = {}
        for chunk in chunks(requests):
            with self.writing() as db:
                moment = self._clock()
                for request in open_requests(db, chunk):
                    if lease(db, request, worker, moment, moment + ttl):
                        held.setdefault(request.key, request)
        return list(held.values())

    def release(self, requests: Iterable[LabelRequest], worker: str) -> None:
        """Give back what `worker` holds of these, unasked."""
        held = [(request.key, worker) for request in requests]
        with self.writing() as db:
            db.executemany("DELETE FROM leases WHERE key = ? AND worker = ?", held)

    def give_up(
        self,
        request: LabelRequest,
        worker: str,
        reason: str,
        *,
        attempts: int = 1,
        possibly_paid: int = 0,
        cost: float = 0.0,
    ) -> None:
        """Note that calls for a request ended without a label, and end its lease; it may be asked again.

        Args:
            request: what was asked.
            worker: who holds it.
            reason: "HTTP 500", "timeout", …
            attempts: calls made.
            possibly_paid: those of them that may be on the bill: time-outs, cut connections.
            cost: what is known to be spent.
        """
        asked = (request.key, request.teacher, request.model, request.prompt_version, worker, reason)
        with self.writing() as db:
            db.execute(
                f"INSERT INTO failures VALUES ({', '.join('?' * 10)})",  # noqa: S608
                (*asked, attempts, possibly_paid, float(cost), now()),
            )
            db.execute("DELETE FROM leases WHERE key = ? AND worker = ?", (request.key, worker))
