"""Writing the Arrow file of a corpus: streaming, checked, all or nothing."""

from __future__ import annotations

import datetime
import decimal
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distillir.data.documents import Document, read_documents, to_document
from distillir.data.files import replacing
from distillir.data.rows import Row
from distillir.errors import DataError

SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("id", "title", "text", "group", "metadata")]
)
STAMP = b"distillir.source"
BATCH_ROWS = 4096
BATCH_BYTES = 16 << 20


def write_corpus(source: str | Path | Iterable[Document | Mapping[str, Any]], path: Path, stamp: str = "") -> None:
    """Write `source` to `path`. Besides one batch, 16 bytes a document are held to find duplicate ids.

    `stamp` says what the documents were read from; `stamp_of` gives it back.
    """
    named = isinstance(source, str | Path)
    origin = Path(source) if isinstance(source, str | Path) else Path("documents")
    documents = read_documents(origin) if named else _numbered(source, origin)  # type: ignore[arg-type]
    hashes, lines = array("q"), array("q")
    schema = SCHEMA.with_metadata({STAMP: stamp.encode()})
    with replacing(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            columns: list[list[str]] = [[] for _ in SCHEMA]
            held = 0
            for line, document in documents:
                cells = _cells(document, origin, line)
                hashes.append(hash(cells[0]))
                lines.append(line)
                held += sum(map(len, cells))
                for column, cell in zip(columns, cells, strict=True):
                    column.append(cell)
                if len(columns[0]) >= BATCH_ROWS or held >= BATCH_BYTES:
                    writer.write_batch(_batch(columns))
                    columns, held = [[] for _ in SCHEMA], 0
            if columns[0]:
                writer.write_batch(_batch(columns))
        if not hashes:
            raise DataError(origin, "there are no documents")
        _refuse_duplicates(temporary, origin, hashes, lines)


def stamp_of(schema: pa.Schema) -> str:
    """What `write_corpus` was told of the source."""
    return str((schema.metadata or {}).get(STAMP, b"").decode())


def _numbered(source: Iterable[Document | Mapping[str, Any]], origin: Path) -> Iterator[tuple[int, Document]]:
    for number, item in enumerate(source, start=1):
        if isinstance(item, Document):
            # Through the same checks as a row of a file.
            fields = {"_id": item.id, "title": item.title, "text": item.text, "group": item.group}
            yield number, to_document(Row(origin, number, {**item.metadata, **fields}))
        elif isinstance(item, Mapping):
            yield number, to_document(Row(origin, number, item))
        else:
            raise DataError(origin, f"a {type(item).__name__}, not a Document or a mapping", line=number)


def _cells(document: Document, origin: Path, line: int) -> tuple[str, ...]:
    try:
        rest = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False, default=_plain)
        cells = (document.id, document.title, document.text, document.group, rest if document.metadata else "")
        for cell in cells:
            cell.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(origin, "half a character (a lone surrogate)", line=line) from None
    except (TypeError, ValueError) as error:
        raise DataError(origin, f"metadata that is not JSON: {error}", line=line) from None
    return cells


def _plain(value: object) -> str:
    if isinstance(value, datetime.date | datetime.time | decimal.Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__}")


def _batch(columns: list[list[str]]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(column, type=pa.string()) for column in columns], schema=SCHEMA)


def _refuse_duplicates(written: Path, origin: Path, hashes: array[int], lines: array[int]) -> None:
    values = np.frombuffer(hashes, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    ties = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    if not len(ties):
        return
    # Equal hashes are almost always equal ids, but only the ids themselves say so.
    suspects = np.unique(np.concatenate([order[ties], order[ties + 1]]))
    seen: dict[str, int] = {}
    with pa.memory_map(str(written)) as source:
        ids = pa.ipc.open_file(source).read_all().column("id")
        for position in suspects.tolist():
            doc_id = ids[position].as_py()
            if doc_id in seen:
                raise DataError(
                    origin,
                    f"id {doc_id!r} is already on line {seen[doc_id]}",
                    line=lines[position],
                    cure="give each id once",
                )
            seen[doc_id] = lines[position]
