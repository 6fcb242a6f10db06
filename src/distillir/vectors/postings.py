"""The inverted copy of a vector store: for each dimension, the rows that hold it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.csr import CSR, take_rows
from distillir.vectors.files import FolderLock, disk_errors, map_array, npy_header, publish_folder, save_array
from distillir.vectors.store import SparseVectors


class Postings:
    """Compressed sparse columns of N rows over `dim` dimensions, memory-mapped.

    Attributes:
        indptr: (dim + 1,) int64; dimension d owns the entries `indptr[d]:indptr[d + 1]`.
        documents: (nnz,) int32 row positions, rising inside a dimension.
        values: (nnz,) in the store's own type.
        rows: N.
    """

    def __init__(self, indptr: NDArray[np.int64], documents: NDArray[Any], values: NDArray[Any], rows: int) -> None:
        self.indptr = indptr
        self.documents = documents
        self.values = values
        self.rows = rows

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.indptr) - 1

    def dimension(self, d: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Row positions and float32 values of one dimension."""
        if not 0 <= d < self.dim:
            raise VectorsError(f"dimension {d} is outside [0, {self.dim})", "use the vocabulary of these vectors")
        span = slice(int(self.indptr[d]), int(self.indptr[d + 1]))
        return self.documents[span], self.values[span].astype(np.float32)

    def gather(self, dimensions: ArrayLike) -> CSR:
        """(len(dimensions), N) sparse rows: the postings of the named dimensions, in the named order.

        Raises:
            VectorsError: a dimension that is not an integer in [0, dim).
        """
        wanted = np.asarray(dimensions)
        if wanted.size == 0:
            wanted = np.empty(0, np.int64)
        elif wanted.ndim != 1 or wanted.dtype.kind not in "iu" or wanted.min() < 0 or wanted.max() >= self.dim:
            raise VectorsError(f"dimensions outside [0, {self.dim})", "use the vocabulary of these vectors")
        return take_rows(self.indptr, self.documents, self.values, wanted.astype(np.int64))

    def scores(self, indices: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float32]:
        """(N,) dot product of one sparse query with every row; only the query's own postings are read."""
        total = np.zeros(self.rows, np.float32)
        for d, weight in zip(indices.tolist(), values.tolist(), strict=True):
            documents, held = self.dimension(d)
            total[documents] += np.float32(weight) * held
        return total


def open_postings(store: SparseVectors) -> Postings:
    """Postings of a store, built into its folder unless they are there and of the same rows.

    Raises:
        VectorsError: the folder cannot be written, the disk is full, or the files are damaged.
    """
    if len(store) >= 2**31:
        raise VectorsError(f"{len(store)} rows are more than postings can number", "split the collection")
    folder = store.path / f"postings-{store.fingerprint[:16]}"
    if not folder.exists():
        with disk_errors(store.path, "the vectors themselves are intact"):
            lock = FolderLock(store.path / ".postings.lock", wait=True)
            try:
                if not folder.exists():  # another process may have built them while this one waited
                    _build(store, folder)
            finally:
                lock.release()
    indptr = np.array(map_array(folder / "indptr.npy", "int64", store.dim + 1))
    documents = map_array(folder / "documents.npy", "int32", store.nnz)
    return Postings(indptr, documents, map_array(folder / "values.npy", store.dtype, store.nnz), len(store))


def _build(store: SparseVectors, folder: Path) -> None:
    temporary = folder.with_name(".tmp-postings")
    if temporary.exists():
        shutil.rmtree(temporary)
    stale = [item for item in store.path.glob("postings-*") if item != folder]
    temporary.mkdir()
    indptr = np.zeros(store.dim + 1, np.int64)
    np.cumsum(store.document_frequency(), out=indptr[1:])
    try:
        save_array(temporary / "indptr.npy", indptr)
        documents = _reserve(temporary / "documents.npy", "int32", store.nnz)
        values = _reserve(temporary / "values.npy", store.dtype, store.nnz)
        _fill(store, indptr[:-1].copy(), documents, values)
        for array in (documents, values):
            if isinstance(array, np.memmap):
                array.flush()
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    publish_folder(temporary, folder)
    for item in stale:
        shutil.rmtree(item, ignore_errors=True)  # a reader that still maps them keeps its pages


def _reserve(path: Path, dtype: str, length: int) -> NDArray[Any]:
    """A writable map whose space is already allotted: a full disk is an error here, and a SIGBUS later."""
    header = npy_header(dtype, (length,))
    size = len(header) + length * np.dtype(dtype).itemsize
    with path.open("wb") as file:
        file.write(header)
        file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    if length == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r+", offset=len(header), shape=(length,))


def _fill(store: SparseVectors, cursor: NDArray[np.int64], documents: NDArray[Any], values: NDArray[Any]) -> None:
    """Counting sort by dimension, a block of rows at a time; `cursor` is where each dimension's next entry goes."""
    for start, block in store.blocks():
        order = np.argsort(block.indices, kind="stable")
        dimensions = block.indices[order]
        counts = np.bincount(dimensions, minlength=store.dim)
        within = np.arange(len(order)) - (np.cumsum(counts) - counts)[dimensions]
        place = cursor[dimensions] + within
        row = np.repeat(np.arange(start, start + block.rows), np.diff(block.indptr))
        documents[place] = row[order]
        values[place] = block.values[order]
        cursor += counts
