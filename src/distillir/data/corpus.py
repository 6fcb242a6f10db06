"""A corpus: documents in a fixed order, in one Arrow file that is memory-mapped, never read whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distillir.data.corpus_file import SCHEMA, stamp_of, write_corpus
from distillir.data.documents import Document
from distillir.errors import DataError


class Corpus:
    """Documents with ids and positions 0 … n-1; open with `Corpus.open`, make with `Corpus.build`.

    Looking up ids takes 16 bytes a document, built on the first look-up; everything else stays on disk.
    """

    def __init__(self, table: pa.Table, path: Path, parts: Sequence[Path] = ()) -> None:
        self.path = path
        self._table = table
        self._parts = tuple(parts) or (path,)

    @classmethod
    def build(cls, source: str | Path | Iterable[Document | Mapping[str, Any]], path: str | Path) -> Corpus:
        """Stream documents into the Arrow file `path` and open it; an existing file is replaced at the end.

        Args:
            source: a .jsonl, .jsonl.gz or .parquet file, or documents (or mappings with `_id`, `text`, …).
            path: the Arrow file to write.

        Raises:
            DataError: a bad row or a duplicate id (file, line, reason), an empty source, a full disk.
        """
        write_corpus(source, Path(path))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Memory-map a corpus that `build` wrote.

        Raises:
            DataError: not such a file, or a damaged one.
        """
        path = Path(path)
        cure = "build it again with Corpus.build"
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            table.validate()
        except FileNotFoundError:
            raise DataError(path, "no such file", cure=cure) from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(path, f"not a readable corpus file: {error}", cure=cure) from None
        if not table.schema.equals(SCHEMA):
            raise DataError(path, f"columns {table.column_names} are not a corpus's", cure=cure)
        return cls(table, path)

    @classmethod
    def concat(cls, corpora: Sequence[Corpus]) -> Corpus:
        """Several corpora one after the other, nothing copied.

        Raises:
            DataError: none given, or an id in two of them.
        """
        if not corpora:
            raise DataError("corpora", "there are none to put together")
        if len(corpora) == 1:
            return corpora[0]
        parts = [path for corpus in corpora for path in corpus._parts]
        joined = cls(pa.concat_tables([corpus._table for corpus in corpora]), corpora[0].path, parts)
        hashes, order = joined._by_hash
        for i in np.flatnonzero(hashes[1:] == hashes[:-1]):
            doc_id = joined.doc_id(int(order[i]))
            if len(joined._found(doc_id)) > 1:
                names = [str(corpus.path) for corpus in corpora if doc_id in corpus]
                raise DataError(names[-1], f"id {doc_id!r} is also in {names[0]}", cure="leave one of them out")
        return joined

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process go the paths: documents stay where they are."""
        return _opened, tuple(path.absolute() for path in self._parts)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[Document]:
        """Documents in order, a batch of the file in memory at a time."""
        for batch in self._table.to_batches():
            for row in batch.to_pylist():
                yield _document(row)

    def __contains__(self, doc_id: object) -> bool:
        return isinstance(doc_id, str) and bool(self._found(doc_id))

    def __getitem__(self, doc_id: str) -> Document:
        return self.document(int(self.position([doc_id])[0]))

    @cached_property
    def ids(self) -> list[str]:
        """All ids in order; held in memory once asked for."""
        return [doc_id for chunk in self._table.column("id").chunks for doc_id in chunk.to_pylist()]

    def doc_id(self, i: int) -> str:
        """The id at position i."""
        return str(self._cell("id", i))

    def text(self, i: int) -> str:
        """What is encoded and searched of the document at position i: title and text, one space between."""
        title, text = self._cell("title", i), str(self._cell("text", i))
        return f"{title} {text}" if title else text

    def group(self, i: int) -> str:
        """The group of the document at position i, "" for none."""
        return str(self._cell("group", i))

    def groups(self) -> npt.NDArray[np.str_]:
        """(n,) the group of every document."""
        return np.array(self._table.column("group").to_pylist(), dtype=np.str_)

    def document(self, i: int) -> Document:
        """The document at position i."""
        return _document({name: self._cell(name, i) for name in SCHEMA.names})

    def position(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """(len(ids),) positions of ids.

        Raises:
            DataError: naming the first id that the corpus lacks.
        """
        places = np.empty(len(ids), dtype=np.int64)
        for i, doc_id in enumerate(ids):
            found = self._found(doc_id)
            if not found:
                raise DataError(self.path, f"no document {doc_id!r}", cure="check that ids and corpus belong together")
            places[i] = found[0]
        return places

    def _cell(self, name: str, i: int) -> Any:
        if not 0 <= i < len(self):
            raise IndexError(f"position {i} of a corpus of {len(self)} documents")
        return self._table.column(name)[int(i)].as_py()

    @cached_property
    def _by_hash(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Hashes of the ids, sorted, and the position of each. A process hashes a string the same way all its life."""
        column = self._table.column("id")
        every = (hash(doc_id) for chunk in column.iterchunks() for doc_id in chunk.to_pylist())
        hashes = np.fromiter(every, dtype=np.int64, count=len(self))
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order

    def _found(self, doc_id: str) -> list[int]:
        hashes, order = self._by_hash
        key = np.int64(hash(doc_id))
        low, high = np.searchsorted(hashes, key, side="left"), np.searchsorted(hashes, key, side="right")
        return [int(i) for i in order[low:high] if self.doc_id(int(i)) == doc_id]


def told_of(corpus: Corpus) -> list[str | int]:
    """What tells a corpus file from another at the cost of a look: passages, size, and what it was written under."""
    return [len(corpus), corpus.path.stat().st_size, stamp_of(corpus._table.schema)]


def open_or_build(
    source: str | Path, path: str | Path, *more: str | Path, documents: Iterable[Document] | None = None
) -> Corpus:
    """The corpus at `path`, built first when it is not there or its source files are others than they were.

    Args:
        source: file of documents. When it is gone, the corpus that was built from it is opened.
        path: the Arrow file.
        more: other files that `documents` are read from.
        documents: what to build from, where it is not `source` alone.
    """
    path, files = Path(path), [Path(source), *map(Path, more)]
    gone = not all(file.is_file() for file in files)
    if gone and path.is_file():
        return Corpus.open(path)
    stamp = "" if gone else json.dumps([[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files])
    return open_or_write(path, stamp, files[0] if documents is None else documents)


def open_or_write(path: str | Path, stamp: str, source: str | Path | Iterable[Document]) -> Corpus:
    """The corpus at `path`, written first when it is not there or was written under another stamp.

    Args:
        path: the Arrow file.
        stamp: says what the documents are read from, such as a digest of it.
        source: what to write; not read where nothing is to be written.
    """
    path = Path(path)
    if path.is_file():
        corpus = Corpus.open(path)
        if stamp_of(corpus._table.schema) == stamp:
            return corpus
    write_corpus(source, path, stamp)
    return Corpus.open(path)


def _opened(*parts: Path) -> Corpus:
    return Corpus.concat([Corpus.open(path) for path in parts])


def _document(row: Mapping[str, Any]) -> Document:
    rest = json.loads(row["metadata"]) if row["metadata"] else {}
    return Document(row["id"], row["text"], row["title"], row["group"], rest)
