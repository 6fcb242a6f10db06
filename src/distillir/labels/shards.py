"""Labels of a worker that cannot reach the store: a file that only grows, one a process, merged by one writer later.

A file opens with a line that names the format; then one record a line, each behind a checksum. A record is on disk
before `put` returns. What a kill leaves half written is the last line, and is counted, never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from distillir.closing import Closing
from distillir.errors import DataError, LabelError
from distillir.labels.portable import from_record, to_record
from distillir.labels.records import Label, LabelRequest, StoredLabel, canonical_json
from distillir.labels.rows import now

SUFFIX = ".labels.jsonl"
HEADER = b'{"format": "distillir label shard", "version": 1}\n'


class ShardWriter(Closing):
    """Opens a new shard in `folder`; usable as a context manager by one thread.

    The folder may be on a network: nobody else writes to the file. A worker that starts again opens another shard and
    asks `shard_keys` what was answered before.

    Args:
        folder: of the shards; made when missing.
        worker: who writes, for the file's name.

    Raises:
        LabelError: the disk refuses.
    """

    def __init__(self, folder: str | Path, worker: str) -> None:
        name = re.sub(r"[^\w.-]+", "_", worker)[:60] or "worker"
        self.path = Path(folder) / f"{name}-{secrets.token_hex(4)}{SUFFIX}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: int | None = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise LabelError(f"{self.path}: {error.strerror}", "check folder, rights and space") from error
        self._append(HEADER)

    def put(self, request: LabelRequest, label: Label) -> None:
        """Append one label; see `put_many`."""
        self.put_many([(request, label)])

    def put_many(self, pairs: Iterable[tuple[LabelRequest, Label]]) -> None:
        """Append labels, on disk when this returns.

        Raises:
            LabelError: the disk refuses (full); the shard then takes no more, what was acknowledged stays readable.
        """
        self._append(b"".join(_line(_stored(request, label)) for request, label in pairs))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, content: bytes) -> None:
        if self._file is None:
            raise LabelError(f"{self.path} is closed", "open another shard")
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            self.close()  # another record behind half of one could not be told apart
            raise LabelError(f"{self.path}: {error.strerror}", "free space and open another shard") from error


class Shard:
    """The labels of one shard, read as often as it is iterated.

    Attributes:
        path: of the file.
        torn: 1 if the last record is half written; known when it was read to the end.

    Raises:
        DataError: no such file, no shard, a newer version, or a damaged record before the last.
        LabelError: a record whose key or value is wrong.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.torn = 0

    def __iter__(self) -> Iterator[StoredLabel]:
        self.torn = 0
        try:
            with self.path.open("rb") as lines:
                head = lines.readline()
                if head != HEADER:
                    if not HEADER.startswith(head):
                        raise DataError(self.path, "not a label shard of this version", cure="update distillir")
                    self.torn = 1
                    return
                for number, line in enumerate(lines, 2):
                    if not line.endswith(b"\n"):
                        self.torn = 1
                        return
                    yield self._read(line, number)
        except OSError as error:
            raise DataError(self.path, f"cannot be read: {error.strerror}", cure="check the path") from None

    def _read(self, line: bytes, number: int) -> StoredLabel:
        checksum, _, content = line[:-1].partition(b" ")
        if checksum != _checksum(content):
            raise DataError(self.path, "a damaged record", line=number, cure="copy the shard from its worker again")
        record: dict[str, Any] = json.loads(content)
        return from_record(record, f"{self.path}:{number}")


def shards_in(folder: str | Path) -> list[Path]:
    """Shards of a folder by name."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))


def shard_keys(folder: str | Path) -> set[str]:
    """Keys of all labels in a folder's shards: what no worker needs to ask again."""
    return {row.key for path in shards_in(folder) for row in Shard(path)}


def _stored(request: LabelRequest, label: Label) -> StoredLabel:
    contexts = (request.context_id,) if request.context_id else ()
    asked = (request.key, request.teacher, request.model, request.prompt_version, dict(request.parameters))
    return StoredLabel(*asked, request.sample_index, request.input_hash, contexts, label)


def _line(row: StoredLabel) -> bytes:
    record = to_record(row)
    record["created"] = record["created"] or now()
    content = canonical_json(record).encode("utf-8")
    return _checksum(content) + b" " + content + b"\n"


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).hexdigest().encode("ascii")
