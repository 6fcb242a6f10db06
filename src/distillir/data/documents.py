"""A document and the files it comes from: JSONL (BEIR's corpus.jsonl too) and Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillir.data.rows import Row, read_json_rows
from distillir.errors import DataError

ID_FIELDS = ("_id", "id")
OWN_FIELDS = ("title", "text", "group")


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        id: its name in qrels and runs.
        text: the body.
        title: may be empty.
        group: what it belongs to (an entity, a page); "" = nothing. Search can be restricted to a group.
        metadata: every other field of the source, JSON values.
    """

    id: str
    text: str
    title: str = ""
    group: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contents(self) -> str:
        """What is encoded and searched: title and text, one space between, or the text alone."""
        return f"{self.title} {self.text}" if self.title else self.text


def read_documents(path: str | Path) -> Iterator[tuple[int, Document]]:
    """Documents of a file with the line (Parquet: the row) each stands on.

    A row has `_id` or `id`, `text`, and optionally `title` and `group`; its other fields become metadata.

    Raises:
        DataError: naming file, line and what is wrong.
    """
    path = Path(path)
    rows = _parquet_rows(path) if path.suffix == ".parquet" else read_json_rows(path)
    for row in rows:
        yield row.line, to_document(row)


def to_document(row: Row) -> Document:
    """Read one row; numbers as ids are written out as text."""
    values = row.values
    key = next((name for name in ID_FIELDS if name in values), None)
    if key is None:
        row.refuse("missing field '_id'", f"fields here: {', '.join(sorted(map(str, values))) or 'none'}")
    doc_id = values[key]
    if isinstance(doc_id, int) and not isinstance(doc_id, bool):
        doc_id = str(doc_id)
    if not isinstance(doc_id, str) or not doc_id.strip():
        row.refuse(f"field {key!r} is {doc_id!r}", "give every document an id with something in it")
    strings = {name: "" if values.get(name) is None else row.text(name) for name in ("title", "group")}
    rest = {name: value for name, value in values.items() if name not in OWN_FIELDS and name != key}
    return Document(doc_id, row.text("text"), strings["title"], strings["group"], rest)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(path, number, values)
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(path, f"not a readable Parquet file: {error}", line=number or None) from None
    if not number:
        raise DataError(path, "the file is empty", cure="check the path, or write it again")
