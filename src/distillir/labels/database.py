"""The SQLite connection of a label store: where it may lie, its transactions, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distillir.closing import Closing
from distillir.errors import LabelError
from distillir.labels.place import refuse_network_place
from distillir.labels.schema import prepare


class Database(Closing):
    """One connection in write-ahead mode, shared by the threads of one process."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
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

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; SQLite's errors become LabelErrors."""
        with self._lock, self._explained():
            if os.getpid() != self._process:
                raise LabelError(f"{self.path} was opened by another process", "open the store after forking")
            yield self._db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """As `reading`, in a transaction that is committed at the end or undone."""
        with self.reading() as db:
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
