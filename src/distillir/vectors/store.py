"""A collection of sparse vectors on disk, read through memory maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.vectors.collection import VectorCollection
from distillir.vectors.csr import CSR, csr_concat, take_rows
from distillir.vectors.layout import Arrays
from distillir.vectors.sparse_layout import Manifest

if TYPE_CHECKING:
    from distillir.vectors.postings import Postings


class SparseVectors(VectorCollection[Manifest]):
    """N rows over `dim` dimensions, each with a string id. Open with `SparseVectors.open`; any number of processes may.

    Attributes:
        path: the folder.
        ids: (N,) ids in row order, decoded one at a time.
        meta: what the writer was told about their origin, such as the encoder's hash.
    """

    _row_arrays = ("indptr", "indices", "values")

    def __init__(self, path: Path, manifest: Manifest, shards: Sequence[Arrays]) -> None:
        super().__init__(path, manifest, shards)
        self._frequency: NDArray[np.int64] | None = None

    @classmethod
    def _load_manifest(cls, folder: Path) -> Manifest:
        return Manifest.load(folder)

    @property
    def nnz(self) -> int:
        """Stored entries."""
        return self._manifest.nnz

    def gather(self, positions: ArrayLike) -> CSR:
        """The named rows in the named order, repeats allowed; reads those rows only.

        Raises:
            VectorsError: a position that is not an integer in [0, N).
        """
        rows, owner = self._located(positions)
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

    def _take(self, number: int, rows: NDArray[np.int64]) -> CSR:
        shard = self._shards[number]
        return take_rows(shard["indptr"], shard["indices"], shard["values"], rows)
