"""A part of an exact index: vectors, their inverted copy and their payloads. Once written it never changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from distillir.errors import SearchIndexError
from distillir.index.filters import payload_tokens
from distillir.index.protocol import Block, SparseQuery
from distillir.vectors import CSR, SparseVectors, SparseVectorsWriter
from distillir.vectors.csr import take_rows
from distillir.vectors.files import disk_errors, map_array, save_array

_CELLS = 1 << 24  # (queries, documents) cells scored at once: at most 128 MiB


class Segment:
    """Rows of a vector store with their payloads (none, where the store has no payload files)."""

    def __init__(self, store: SparseVectors) -> None:
        self.store = store
        self.name = store.path.name
        self._postings = store.invert()
        self._fields: dict[str, dict[str, NDArray[np.int64]]] = {}
        self._payload_offsets: NDArray[Any] | None = None
        if (store.path / "payload_offsets.npy").exists():
            self._payload_offsets = map_array(store.path / "payload_offsets.npy", "int64", len(store) + 1)
            self._payloads = map_array(store.path / "payloads.npy", "uint8", int(self._payload_offsets[-1]))

    def __len__(self) -> int:
        return len(self.store)

    def best(
        self, queries: Sequence[SparseQuery], k: int, allowed: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """For each query, rows and scores of its k best allowed documents, and of all that equal the last of them."""
        step = max(1, _CELLS // max(1, len(self)))
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            dimensions = np.unique(np.concatenate([query.indices for query in part]))
            columns = np.searchsorted(dimensions, np.concatenate([query.indices for query in part]))
            pointer = np.cumsum([0, *(len(query.indices) for query in part)])
            weights = CSR(pointer, columns.astype(np.int32), np.concatenate([query.values for query in part]))
            left = _matrix(weights, len(dimensions))
            right = _matrix(self._postings.gather(dimensions), len(self))
            product = left @ right  # holds touched documents only: most of a dense row would be zeros
            for i in range(len(part)):
                span = slice(int(product.indptr[i]), int(product.indptr[i + 1]))
                rows, scores = product.indices[span].astype(np.int64), product.data[span]
                kept = allowed[rows] & (scores > 0)
                yield keep_best(rows[kept], scores[kept], k)

    def matching(self, where: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        """(rows,) True where each field has one of its tokens."""
        matches = np.ones(len(self), bool)
        for field, tokens in where.items():
            held = np.zeros(len(self), bool)
            by_token = self._field(field)
            for name in tokens:
                held[by_token.get(name, [])] = True
            matches &= held
        return matches

    def payload(self, row: int) -> bytes:
        """JSON text of a document's payload."""
        if self._payload_offsets is None:
            return b"{}"
        return self._payloads[int(self._payload_offsets[row]) : int(self._payload_offsets[row + 1])].tobytes()

    def blocks(self, alive: NDArray[np.bool_]) -> Iterator[Block]:
        """The documents that are alive, a bounded number at a time."""
        for start, vectors in self.store.blocks():
            rows = np.flatnonzero(alive[start : start + vectors.rows])
            if len(rows):
                places = (rows + start).tolist()
                yield Block(
                    [self.store.ids[p] for p in places], take_rows(*vectors, rows), [self.payload(p) for p in places]
                )

    def _field(self, field: str) -> dict[str, NDArray[np.int64]]:
        if field not in self._fields:
            rows: dict[str, list[int]] = {}
            for row in range(len(self)):
                for name in payload_tokens(json.loads(self.payload(row)), [field]):
                    rows.setdefault(name, []).append(row)
            self._fields[field] = {name: np.array(places, np.int64) for name, places in rows.items()}
        return self._fields[field]


def _matrix(rows: CSR, width: int) -> csr_array[Any]:
    # Row pointers as narrow as the columns: otherwise scipy copies every column number into 64 bits.
    narrow = rows.indptr.astype(np.int32) if len(rows.indices) < 2**31 else rows.indptr
    return csr_array((rows.values, rows.indices, narrow), shape=(rows.rows, width))


def keep_best(
    rows: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k highest scores and all that equal the last of them, unsorted."""
    if len(scores) > k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        return rows[kept], scores[kept]
    return rows, scores


def write_segment(path: Path, dim: int, blocks: Iterable[Block]) -> Segment:
    """Write and flush a segment folder, a block at a time. An index does not see it until its state names it.

    Raises:
        VectorsError: no space is left, or the folder cannot be written.
    """
    lengths = [0]
    with disk_errors(path, "the documents acknowledged so far are intact"):
        path.mkdir()
        with SparseVectorsWriter(path, dim, dtype="float32") as writer, (path / ".payloads").open("wb") as file:
            for block in blocks:
                writer.append(block.ids, block.vectors)
                for payload in block.payloads:
                    file.write(payload)
                    lengths.append(len(payload))
        _finish_payloads(path, np.cumsum(lengths))
    return Segment(SparseVectors.open(path))


def _finish_payloads(path: Path, offsets: NDArray[np.int64]) -> None:
    raw = path / ".payloads"
    data = np.memmap(raw, np.uint8, mode="r") if offsets[-1] else np.empty(0, np.uint8)
    save_array(path / "payloads.npy", data)
    save_array(path / "payload_offsets.npy", offsets)
    raw.unlink()


def load_segment(path: Path) -> Segment:
    """Open a segment that an index's state names.

    Raises:
        SearchIndexError: it is gone. VectorsError: it is damaged.
    """
    if not path.is_dir():
        raise SearchIndexError(f"{path} is missing", "restore the index's folder, or build the index again")
    return Segment(SparseVectors.open(path))
