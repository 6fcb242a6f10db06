"""What a label store can be asked without changing it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from distillir.errors import LabelError
from distillir.labels.database import Database
from distillir.labels.kinds import Kind
from distillir.labels.records import Label, StoredLabel, TeacherSummary
from distillir.labels.rows import ASKED_COLUMNS, LABEL_COLUMNS, label_of

PAGE = 500
T = TypeVar("T")


class LabelReader(Database):
    """The reading half of `LabelStore`."""

    def __len__(self) -> int:
        with self.reading() as db:
            return int(db.execute("SELECT count(*) FROM labels").fetchone()[0])

    def get(self, key: str) -> Label | None:
        """The label of a request's key, None if it was never committed."""
        with self.reading() as db:
            row = db.execute(f"SELECT {LABEL_COLUMNS} FROM labels WHERE key = ?", (key,)).fetchone()  # noqa: S608
        return None if row is None else label_of(row)

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that have a label. Nothing is noted or changed."""
        found: set[str] = set()
        for chunk in chunks(keys):
            marks = ", ".join("?" * len(chunk))
            with self.reading() as db:
                rows = db.execute(f"SELECT key FROM labels WHERE key IN ({marks})", chunk).fetchall()  # noqa: S608
            found.update(row[0] for row in rows)
        return found

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
                    f"SELECT rowid, {ASKED_COLUMNS}, {LABEL_COLUMNS} FROM labels WHERE rowid > ? "  # noqa: S608
                    "AND coalesce(?, teacher) = teacher AND coalesce(?, kind) = kind ORDER BY rowid LIMIT ?",
                    (last, teacher, kind, PAGE),
                ).fetchall()
                uses = {row[1]: _contexts(db, row[1]) for row in page}
            for rowid, key, who, model, prompt, parameters, sample, input_hash, *rest in page:
                last = rowid
                asked = (key, who, model, prompt, json.loads(parameters), sample, input_hash)
                yield StoredLabel(*asked, uses[key], label_of(rest))
            if len(page) < PAGE:
                return

    def uses(self, teacher: str | None = None, kind: Kind | None = None) -> list[tuple[str, str]]:
        """(Context, key) of labels that are there, the latest last."""
        with self.reading() as db:
            return db.execute(
                "SELECT context_id, key FROM uses JOIN labels USING (key) WHERE coalesce(?, teacher) = teacher "
                "AND coalesce(?, kind) = kind ORDER BY seq",
                (teacher, kind),
            ).fetchall()

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
            LabelError: labels of one model made with several prompts, parameters or scales, or of several models for
                one context, and none was named. Several models for different contexts (data sets) are fine.
        """
        with self.reading() as db:
            found = db.execute(
                "SELECT context_id, value, status, model, scale, prompt_version, parameters FROM uses "
                "JOIN labels USING (key) WHERE teacher = ? AND kind = ? AND sample_index = ? "
                "AND coalesce(?, model) = model AND coalesce(?, prompt_version) = prompt_version ORDER BY seq",
                (teacher, kind, sample_index, model, prompt_version),
            ).fetchall()
        _refuse_mixture(teacher, found)
        latest = {row[0]: row[1:3] for row in found}
        return {context: json.loads(value) for context, (value, status) in latest.items() if status != "malformed"}

    def rewrites(self, teacher: str, *, model: str | None = None, prompt_version: str | None = None) -> dict[str, str]:
        """Context id -> rewritten question, as `values`."""
        return self.values(teacher, "rewrite", model=model, prompt_version=prompt_version)


def chunks(given: Iterable[T]) -> Iterator[list[T]]:
    """Short transactions: some hundred each, made before the transaction begins."""
    source = iter(given)
    while chunk := list(islice(source, PAGE)):
        yield chunk


def _refuse_mixture(teacher: str, found: Iterable[Sequence[str]]) -> None:
    """Refuse rows (context, value, status, model, scale, prompt version, parameters) that do not go together."""
    cure = "name the model and prompt_version, or give each its own teacher name"
    ways: dict[str, tuple[str, str]] = {}
    scales: dict[str, str] = {}
    models: dict[str, str] = {}
    for context, _, status, model, scale, *way in found:
        first = ways.setdefault(model, (way[0], way[1]))
        if first != (way[0], way[1]):
            raise LabelError(
                f"labels of {teacher!r} by {model!r} were made in two ways, {first} and {tuple(way)}", cure
            )
        if status != "malformed" and scales.setdefault(model, scale) != scale:
            raise LabelError(
                f"labels of {teacher!r} by {model!r} are on two scales, {scales[model]!r} and {scale!r}", cure
            )
        other = models.setdefault(context, model)
        if other != model:
            raise LabelError(f"context {context!r} has labels of {teacher!r} by {other!r} and by {model!r}", cure)


def _contexts(db: sqlite3.Connection, key: str) -> tuple[str, ...]:
    return tuple(row[0] for row in db.execute("SELECT context_id FROM uses WHERE key = ? ORDER BY seq", (key,)))
