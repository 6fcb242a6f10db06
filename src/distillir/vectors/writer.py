"""Writing a collection of sparse vectors so that a crash costs at most the shard in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import VectorsError
from distillir.vectors.csr import CSR, check_csr, csr_concat, take_rows
from distillir.vectors.layout import Arrays
from distillir.vectors.shards import ShardWriter
from distillir.vectors.sparse_layout import Manifest


class SparseVectorsWriter(ShardWriter[Manifest, CSR]):
    """Appends rows to a store, creating it, or continuing after the last committed shard.

    Usage::

        with SparseVectorsWriter("documents", dim=30522, meta={"encoder": "3f2a..."}) as writer:
            for batch in batches:
                todo = [d for d in batch if not writer.has(d.id)]
                writer.append([d.id for d in todo], encode(todo))

    Leaving the block normally closes the store; leaving it by an exception keeps committed shards only.

    Args:
        path: the folder.
        dim: number of dimensions.
        dtype: how values are kept. Half precision keeps three digits; a value above 65,504 is refused.
        shard_rows: rows a shard, the most that a crash can cost.
        meta: where the vectors come from; JSON. Continuing with another meta, dim or dtype is refused.

    Raises:
        VectorsError: another process is writing here, or what lies here is something else.
    """

    def __init__(
        self,
        path: str | Path,
        dim: int,
        dtype: str = "float16",
        shard_rows: int = 16_384,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(Manifest, path, shard_rows, meta, dim=dim, dtype=dtype)

    def append(self, ids: Sequence[str], rows: CSR) -> None:
        """Add rows; they are committed whenever a shard is full. Zeros (also those of rounding) are not stored.

        Raises:
            VectorsError: rows that `check_csr` refuses, a value too large for the type, an id given twice, a full disk.
                Nothing of a refused batch is added; after a full disk open a new writer to continue.
        """
        self._refuse_closed()
        checked = check_csr(*rows, self._manifest.dim)
        if checked.rows != len(ids):
            raise VectorsError(f"{len(ids)} ids for {checked.rows} rows", "give one id a row")
        self._refuse_repeats(ids)
        self._keep(ids, self._quantised(ids, checked))

    def _quantised(self, ids: Sequence[str], rows: CSR) -> CSR:
        with np.errstate(over="ignore"):
            stored: NDArray[Any] = rows.values.astype(self._manifest.dtype)
        if np.isinf(stored).any():
            entry = int(np.argmax(np.isinf(stored)))
            name = ids[int(np.searchsorted(rows.indptr, entry, side="right")) - 1]
            raise VectorsError(
                f"the value {rows.values[entry]:g} of {name!r} does not fit {self._manifest.dtype}",
                'use dtype="float32"',
            )
        keep = stored != 0
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep, dtype=np.int64)])
        return CSR(kept[rows.indptr], rows.indices[keep], stored[keep].astype(np.float32))

    def _join(self, parts: Sequence[CSR]) -> CSR:
        return csr_concat(parts)

    def _cut(self, rows: CSR, first: int, last: int) -> CSR:
        return take_rows(*rows, np.arange(first, last))

    def _arrays(self, rows: CSR) -> Arrays:
        return {
            "indptr": rows.indptr,
            "indices": rows.indices.astype(self._manifest.index_dtype),
            "values": rows.values.astype(self._manifest.dtype),
        }
