"""What was added and deleted over HTTP, in order: flushed before it is applied, so that a kill loses nothing.

One JSON object a line, `{"seq": 3, "op": "add", "documents": […]}` or `{"seq": 4, "op": "delete", "ids": […]}`. The
number of the last line that was applied is part of the index version that every reply names. A line that a kill cut
short was acknowledged to nobody, and is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distillir.errors import SearchIndexError
from distillir.index.protocol import index_errors
from distillir.vectors.files import FolderLock, disk_errors, sync_folder

FILE = "writes.jsonl"
_INTACT = "nothing was changed"


class Journal:
    """The journal in a folder, open for writing by one process.

    Args:
        folder: made where there is none.

    Raises:
        SearchIndexError: another process writes it, a damaged line, or a folder that cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE
        with index_errors(), disk_errors(self.folder, _INTACT):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder / ".lock")
        try:
            self.last = self._recover()
        except BaseException:
            self._lock.release()
            raise

    def append(self, change: Mapping[str, Any]) -> int:
        """Write a change and flush it; its number.

        Raises:
            SearchIndexError: the disk refuses. The journal is as it was.
        """
        line = json.dumps({"seq": self.last + 1, **change}, allow_nan=False).encode() + b"\n"
        size = self.path.stat().st_size
        with index_errors(), disk_errors(self.path, _INTACT):
            try:
                with self.path.open("ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, size)
                raise
        self.last += 1
        return self.last

    def undo(self) -> None:
        """Take the last change back, which could not be applied."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        os.truncate(self.path, sum(map(len, lines[:-1])))
        self.last -= 1

    def changes(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Changes with a number above `after`, in order."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number > after:
                    yield self._read(line, number)

    def close(self) -> None:
        """Let the next process write."""
        self._lock.release()

    def _recover(self) -> int:
        with index_errors(), disk_errors(self.path, _INTACT):
            if not self.path.exists():
                self.path.touch()
                sync_folder(self.folder)
            whole = last = 0
            with self.path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    last += 1
                    self._read(line, last)
                    whole += len(line)
            os.truncate(self.path, whole)
        return last

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            change: dict[str, Any] = json.loads(line)
            if change["seq"] != number or change["op"] not in ("add", "delete"):
                raise ValueError(f"seq {change['seq']}, op {change['op']!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise SearchIndexError(
                f"{self.path}:{number} is no change of a service: {error}",
                "restore the file, or move it away and add the documents again",
            ) from error
        return change
