"""Bulk files on disk, all or nothing: one file, or a folder of files that each fit into one request."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from distillir.data.files import replacing_lines
from distillir.engines.bulk import BulkRow
from distillir.errors import ConfigError, DataError, SearchIndexError
from distillir.vectors.files import publish_folder

HTTP_LIMIT = 100 * 1024 * 1024
"""Bytes of a request that both engines take by default (`http.max_content_length`), counted before compression."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: in the order to send them.
        documents: how many.
        empty: how many of them have no term, and so are never found.
        terms: stored terms of all documents.
        bytes: before compression.
    """

    files: tuple[Path, ...]
    documents: int
    empty: int
    terms: int
    bytes: int


def write_bulk(
    path: str | Path,
    rows: Iterable[BulkRow],
    *,
    max_bytes: int | None = None,
    total: int = 0,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write bulk rows; gzipped when the name of `path` ends in .gz.

    Args:
        path: the file. With `max_bytes`, a folder of files 00001.ndjson, …; it must not be there, or be empty.
        rows: of `bulk_rows`.
        max_bytes: of one file before compression; below `HTTP_LIMIT` each file is one request.
        total: documents, for `watch`.
        watch: called with (documents done, documents in all).

    Raises:
        DataError: the disk refuses, or the folder is in use.
        SearchIndexError: one document is larger than `max_bytes`, and all that `rows` raise.
        ConfigError: max_bytes below 1.
    """
    target = Path(path)
    counted = _Counter(rows, total, watch)
    if max_bytes is None:
        if target.is_dir():
            raise DataError(target, "is a folder", cure="name a file, or split it with max_bytes (--max-bytes)")
        with replacing_lines(target) as out:
            for row in counted:
                out.write(row.lines)
        return counted.result([target])
    if max_bytes < 1:
        raise ConfigError(f"max_bytes is {max_bytes}", f"use up to {HTTP_LIMIT:,}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(target, "is there and not an empty folder", cure="choose another name for the folder")
    temporary = target.with_name(f".tmp-{target.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed call left
        temporary.mkdir(parents=True)
        names = _write_parts(temporary, counted, max_bytes, ".ndjson.gz" if target.suffix == ".gz" else ".ndjson")
        if target.exists():
            target.rmdir()
        publish_folder(temporary, target)
    except OSError as error:
        raise DataError(
            target, f"cannot be written: {error.strerror or error}", cure="free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counted.result([target / name for name in names])


class _Counter:
    """Rows as they pass by, counted."""

    def __init__(self, rows: Iterable[BulkRow], total: int, watch: Callable[[int, int], None]) -> None:
        self._rows, self._total, self._watch = rows, total, watch
        self.documents = self.empty = self.terms = self.bytes = 0

    def __iter__(self) -> Iterator[BulkRow]:
        for row in self._rows:
            yield row
            self.documents += 1
            self.empty += not row.terms
            self.terms += row.terms
            self.bytes += len(row.lines)
            if self.documents % 1000 == 0:
                self._watch(self.documents, max(self._total, self.documents))
        self._watch(self.documents, max(self._total, self.documents))

    def result(self, files: list[Path]) -> Exported:
        return Exported(tuple(files), self.documents, self.empty, self.terms, self.bytes)


def _write_parts(folder: Path, rows: Iterable[BulkRow], max_bytes: int, suffix: str) -> list[str]:
    names: list[str] = []
    written = 0
    with ExitStack() as open_part:
        out: BinaryIO | None = None
        for row in rows:
            size = len(row.lines)
            if size > max_bytes:
                raise SearchIndexError(
                    f"document {row.id!r} takes {size:,} bytes, a file may have {max_bytes:,}",
                    "raise max_bytes and the engine's http.max_content_length, or split the document",
                )
            if out is None or written + size > max_bytes:
                open_part.close()
                names.append(f"{len(names) + 1:05d}{suffix}")
                out, written = open_part.enter_context(_part(folder / names[-1])), 0
            out.write(row.lines)
            written += size
    return names


@contextmanager
def _part(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())
