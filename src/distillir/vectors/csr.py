"""Rows of sparse vectors in memory: compressed sparse rows without scipy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError


class CSR(NamedTuple):
    """R sparse rows; row i owns the entries `indptr[i]:indptr[i + 1]`.

    Attributes:
        indptr: (R + 1,) int64, starts at 0 and never falls.
        indices: (nnz,) int32 dimensions, strictly increasing inside a row.
        values: (nnz,) float32 weights.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    @property
    def rows(self) -> int:
        """Number of rows R."""
        return len(self.indptr) - 1

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Dimensions and values of row i."""
        if not 0 <= i < self.rows:
            raise VectorsError(f"row {i} of {self.rows} rows", "rows count from 0")
        span = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.indices[span], self.values[span]


def csr_from_rows(rows: Sequence[tuple[ArrayLike, ArrayLike]], dim: int) -> CSR:
    """Rows given as (dimensions, values) pairs in any order of dimensions; zero values are left out.

    Raises:
        VectorsError: a dimension twice in a row or outside [0, dim), a value that is not finite, unequal lengths.
    """
    columns, weights, lengths = [np.empty(0, np.int64)], [np.empty(0, np.float32)], [0]
    for number, (dimensions, values) in enumerate(rows):
        index, value = np.asarray(dimensions), np.asarray(values, np.float32)
        if index.shape != value.shape or index.ndim != 1:
            raise VectorsError(f"row {number} has {index.shape} dimensions and {value.shape} values", "pair them")
        if index.size and index.dtype.kind not in "iu":
            raise VectorsError(f"row {number} has dimensions of type {index.dtype}", "use integers")
        order = np.argsort(index, kind="stable")
        order = order[value[order] != 0]
        columns.append(index[order].astype(np.int64))
        weights.append(value[order])
        lengths.append(len(order))
    return check_csr(np.cumsum(lengths), np.concatenate(columns), np.concatenate(weights), dim)


def csr_concat(parts: Sequence[CSR]) -> CSR:
    """The rows of all parts, one after another."""
    if len(parts) == 1:
        return parts[0]
    indptr, offset = [np.zeros(1, np.int64)], 0
    for part in parts:
        indptr.append(part.indptr[1:] + offset)
        offset += int(part.indptr[-1])
    return CSR(
        np.concatenate(indptr),
        np.concatenate([np.empty(0, np.int32), *(p.indices for p in parts)]),
        np.concatenate([np.empty(0, np.float32), *(p.values for p in parts)]),
    )


def take_rows(indptr: NDArray[Any], indices: NDArray[Any], values: NDArray[Any], rows: NDArray[np.int64]) -> CSR:
    """The named rows in the named order, copied out of arrays that may be memory-mapped."""
    starts = indptr[rows]
    lengths = indptr[rows + 1] - starts
    out = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    flat = np.repeat(starts - out[:-1], lengths) + np.arange(out[-1])
    return CSR(out, indices[flat].astype(np.int32), values[flat].astype(np.float32))


def check_csr(indptr: ArrayLike, indices: ArrayLike, values: ArrayLike, dim: int) -> CSR:
    """The three arrays as a `CSR`, once they are known to be one.

    Raises:
        VectorsError: shapes that do not fit, dimensions unsorted, repeated or outside [0, dim), values not finite.
    """
    pointer, index, value = np.asarray(indptr), np.asarray(indices), np.asarray(values)
    if pointer.ndim != 1 or index.ndim != 1 or index.shape != value.shape or len(pointer) == 0:
        raise VectorsError(
            f"row pointers {pointer.shape}, dimensions {index.shape} and values {value.shape} are not sparse rows",
            "give (rows + 1,), (nnz,) and (nnz,) arrays",
        )
    if pointer.dtype.kind not in "iu" or (index.size and index.dtype.kind not in "iu") or value.dtype.kind not in "fiu":
        raise VectorsError(
            f"sparse rows of types {pointer.dtype}, {index.dtype}, {value.dtype}", "use integers, integers and floats"
        )
    pointer = pointer.astype(np.int64)
    if pointer[0] != 0 or pointer[-1] != len(index) or np.any(np.diff(pointer) < 0):
        raise VectorsError(
            f"row pointers run from {pointer[0]} to {pointer[-1]} over {len(index)} entries",
            "they must rise from 0 to nnz",
        )
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    if index.size:
        _check_entries(pointer, index, value, dim)
    return CSR(pointer, index.astype(np.int32), value)


def _check_entries(pointer: NDArray[np.int64], index: NDArray[Any], value: NDArray[np.float32], dim: int) -> None:
    if index.min() < 0 or index.max() >= dim:
        bad = int(index.min() if index.min() < 0 else index.max())
        raise VectorsError(
            f"dimension {bad} is outside [0, {dim})", "encode with the vocabulary these vectors belong to"
        )
    rising = np.diff(index.astype(np.int64)) > 0
    borders = pointer[1:-1]
    rising[borders[(borders > 0) & (borders < len(index))] - 1] = True  # a new row may start lower
    if not rising.all():
        row = _row_of(pointer, int(np.argmin(rising)) + 1)
        raise VectorsError(
            f"row {row} has unsorted or repeated dimensions", "sort each row and sum repeated dimensions"
        )
    if not np.isfinite(value).all():
        row = _row_of(pointer, int(np.argmin(np.isfinite(value))))
        raise VectorsError(f"row {row} holds a value that is not a finite number", "look at the encoder's output")


def _row_of(pointer: NDArray[np.int64], entry: int) -> int:
    return int(np.searchsorted(pointer, entry, side="right")) - 1
