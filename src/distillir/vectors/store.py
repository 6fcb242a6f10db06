"""A collection of sparse vectors on disk, read through memory maps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.csr import CSR, csr_concat, take_rows
from distillir.vectors.ids import IdTable
from distillir.vectors.layout import Manifest, load_manifest, open_shard, shard_sha256

if TYPE_CHECKING:
    from distillir.vectors.postings import Postings


class SparseVectors:
    """N rows over `dim` dimensions, each with a string id. Open with `SparseVectors.open`; any number of processes may.

    Attributes:
        path: the folder.
        ids: (N,) ids in row order, decoded one at a time.
        meta: what the writer was told about their origin, such as the encoder's hash.
    """

    def __init__(self, path: Path, manifest: Manifest, shards: Sequence[dict[str, NDArray[Any]]]) -> None:
        self.path = path
        self.ids: Sequence[str] = (table := IdTable())
        self.meta: dict[str, Any] = dict(manifest.meta)
        self._table = table
        self._manifest = manifest
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        self._frequency: NDArray[np.int64] | None = None
        for shard in self._shards:
            table.add(shard["ids"], shard["id_offsets"], shard["id_hashes"])

    @classmethod
    def open(cls, path: str | Path, *, partial: bool = False) -> SparseVectors:
        """Open a finished store; with `partial`, also one whose writer has not closed it.

        Raises:
            VectorsError: missing, unfinished, or a shard that is missing, truncated or of another shape.
        """
        folder = Path(path)
        manifest = load_manifest(folder)
        if not manifest.complete and not partial:
            raise VectorsError(
                f"{folder} is unfinished: {manifest.rows} rows so far",
                "run the same encoding again, it continues; or open it with partial=True",
            )
        return cls(folder, manifest, [open_shard(folder, manifest, shard) for shard in manifest.shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def dim(self) -> int:
        """Number of dimensions, the vocabulary size."""
        return self._manifest.dim

    @property
    def nnz(self) -> int:
        """Stored entries."""
        return self._manifest.nnz

    @property
    def dtype(self) -> str:
        """Type of the stored values; every method returns float32."""
        return self._manifest.dtype

    @property
    def complete(self) -> bool:
        """Whether the writer closed the store."""
        return self._manifest.complete

    @property
    def fingerprint(self) -> str:
        """Changes whenever rows are added; read from the manifest without touching the rows."""
        return self._manifest.fingerprint

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(R,) row of each id, -1 where it is not here."""
        return self._table.find(ids)

    def position(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(R,) row of each id.

        Raises:
            VectorsError: naming the first id that is not here.
        """
        found = self.find(ids)
        if len(found) and found.min() < 0:
            raise VectorsError(
                f"no vector has the id {ids[int(np.argmin(found))]!r} in {self.path} ({len(self)} rows)",
                "encode it, or check that ids and vectors are of the same collection",
            )
        return found

    def gather(self, positions: ArrayLike) -> CSR:
        """The named rows in the named order, repeats allowed; reads those rows only.

        Raises:
            VectorsError: a position that is not an integer in [0, N).
        """
        rows = np.asarray(positions)
        if rows.size == 0:
            return csr_concat([])
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise VectorsError(f"positions of shape {rows.shape} and type {rows.dtype}", "give a list of integers")
        if rows.min() < 0 or rows.max() >= len(self):
            raise VectorsError(f"positions {rows.min()} to {rows.max()} in {len(self)} rows", "ask for rows that exist")
        rows = rows.astype(np.int64)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        parts = [self._take(int(s), rows[owner == s] - self._starts[s]) for s in np.unique(owner)]
        if len(parts) == 1:
            return parts[0]
        back = np.empty(len(rows), np.int64)
        back[np.argsort(owner, kind="stable")] = np.arange(len(rows))
        return take_rows(*csr_concat(parts), back)

    def shards(self) -> Iterator[tuple[int, CSR]]:
        """Each shard as (position of its first row, its rows), a copy in memory."""
        for number, start in enumerate(self._starts[:-1].tolist()):
            yield start, self._take(number, np.arange(self._manifest.shards[number].rows))

    def blocks(self, max_entries: int = 1 << 20) -> Iterator[tuple[int, CSR]]:
        """Like `shards`, in pieces of at most `max_entries` entries (or one row), whatever size the shards have."""
        for number, start in enumerate(self._starts[:-1].tolist()):
            indptr = self._shards[number]["indptr"]
            row, rows = 0, len(indptr) - 1
            while row < rows:
                end = int(np.searchsorted(indptr, indptr[row] + max_entries, side="right")) - 1
                end = min(max(end, row + 1), rows)
                yield start + row, self._take(number, np.arange(row, end))
                row = end

    def document_frequency(self) -> NDArray[np.int64]:
        """(dim,) number of rows that hold each dimension; counted once."""
        if self._frequency is None:
            self._frequency = np.zeros(self.dim, np.int64)
            for _, block in self.blocks():
                self._frequency += np.bincount(block.indices, minlength=self.dim)
            self._frequency.setflags(write=False)
        return self._frequency

    def invert(self) -> Postings:
        """The same entries by dimension; built beside the rows on first use, and again after rows were added."""
        from distillir.vectors.postings import open_postings

        return open_postings(self)

    def digest(self) -> str:
        """SHA-256 of dim, type, ids and rows; the same however the rows were cut into shards."""
        streams = {name: hashlib.sha256() for name in ("ids", "id_lengths", "lengths", "indices", "values")}
        for shard in self._shards:
            streams["ids"].update(shard["ids"].data)
            streams["id_lengths"].update(np.diff(shard["id_offsets"]).data)
            streams["lengths"].update(np.diff(shard["indptr"]).data)
            streams["indices"].update(shard["indices"].view(np.uint8).data)
            streams["values"].update(shard["values"].view(np.uint8).data)
        head = f"{self.dim} {self.dtype} {len(self)}"
        return hashlib.sha256(" ".join([head, *(s.hexdigest() for s in streams.values())]).encode()).hexdigest()

    def verify(self) -> None:
        """Read everything and compare it with the hashes taken when it was written.

        Raises:
            VectorsError: naming the first damaged shard.
        """
        for shard, arrays in zip(self._manifest.shards, self._shards, strict=True):
            if shard_sha256(arrays) != shard.sha256:
                raise VectorsError(
                    f"{self.path / shard.name} has changed since it was written", "restore it, or encode again"
                )

    def _take(self, number: int, rows: NDArray[np.int64]) -> CSR:
        shard = self._shards[number]
        return take_rows(shard["indptr"], shard["indices"], shard["values"], rows)
