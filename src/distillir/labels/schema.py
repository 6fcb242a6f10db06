"""The tables of a label store, their version, and the way from an older version to this one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from distillir.errors import LabelError

APPLICATION = 0x64695221  # marks the SQLite file as a label store

# Step i makes version i + 1 of version i. A new file takes all steps, so it equals a migrated one. A step that was
# released is never changed.
STEPS = [
    """
CREATE TABLE labels (
    key TEXT PRIMARY KEY, teacher TEXT NOT NULL, model TEXT NOT NULL, prompt_version TEXT NOT NULL,
    parameters TEXT NOT NULL, sample_index INTEGER NOT NULL, input_hash TEXT NOT NULL, kind TEXT NOT NULL,
    value TEXT NOT NULL, raw TEXT NOT NULL, status TEXT NOT NULL, model_id TEXT NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL, seconds REAL NOT NULL, cost REAL NOT NULL, created TEXT NOT NULL
);
CREATE INDEX labels_by_teacher ON labels (teacher, kind);
-- A label serves every context with its input. The latest row of a context and teacher is the one that counts.
CREATE TABLE uses (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, context_id TEXT NOT NULL, key TEXT NOT NULL, UNIQUE (context_id, key)
);
CREATE INDEX uses_by_key ON uses (key);
CREATE TABLE leases (key TEXT PRIMARY KEY, worker TEXT NOT NULL, until REAL NOT NULL);
-- A lease that ran out and was claimed again: a call that may be paid twice.
CREATE TABLE takeovers (
    key TEXT NOT NULL, teacher TEXT NOT NULL, model TEXT NOT NULL, prompt_version TEXT NOT NULL, worker TEXT NOT NULL
)
""",
    """
ALTER TABLE labels ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE labels ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1;
ALTER TABLE labels ADD COLUMN scale TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN teacher TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN prompt_version TEXT NOT NULL DEFAULT '';
-- Calls that ended without a label. The question stays open, the money may be gone.
CREATE TABLE failures (
    key TEXT NOT NULL, teacher TEXT NOT NULL, model TEXT NOT NULL, prompt_version TEXT NOT NULL, worker TEXT NOT NULL,
    reason TEXT NOT NULL, attempts INTEGER NOT NULL, possibly_paid INTEGER NOT NULL, cost REAL NOT NULL,
    created TEXT NOT NULL
);
-- Answers to a question that had another one already: paid for, kept, never used.
CREATE TABLE conflicts (
    key TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, raw TEXT NOT NULL, status TEXT NOT NULL,
    cost REAL NOT NULL, created TEXT NOT NULL, origin TEXT NOT NULL, UNIQUE (key, kind, value)
)
""",
]
VERSION = len(STEPS)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or bring those of an older one up to date, in one transaction.

    Raises:
        LabelError: another program's database, or a version this one does not know.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _prepare(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = 0
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise LabelError(f"{path} is a database of something else", "give the label store a file of its own")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 1 <= version <= VERSION:
            raise LabelError(
                f"{path} has schema version {version}, this distillir reads version {VERSION}",
                "update distillir" if version > VERSION else "use the distillir that wrote it",
            )
    for step in STEPS[version:]:
        for statement in step.split(";"):
            connection.execute(statement)
    if version < VERSION:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
