"""The tables of a label store and their version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from distillir.errors import LabelError

VERSION = 1
APPLICATION = 0x64695221  # marks the SQLite file as a label store

TABLES = """
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
);
"""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or check those of an old one.

    Raises:
        LabelError: another program's database, or a version this one does not know.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise LabelError(f"{path} is a database of something else", "give the label store a file of its own")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise LabelError(
            f"{path} has schema version {version}, this distillir reads version {VERSION}",
            "update distillir" if version > VERSION else "use the distillir that wrote it",
        )
