"""Writing a collection of dense vectors so that a crash costs at most the shard in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.dense_layout import DenseManifest, Similarity
from distillir.vectors.layout import Arrays
from distillir.vectors.shards import ShardWriter


class DenseVectorsWriter(ShardWriter[DenseManifest, NDArray[Any]]):
    """Appends rows to a store, creating it, or continuing after the last committed shard.

    Usage::

        with DenseVectorsWriter("documents", dim=384, similarity="cosine", meta={"encoder": "3f2a..."}) as writer:
            for batch in batches:
                todo = [d for d in batch if not writer.has(d.id)]
                writer.append([d.id for d in todo], encode(todo))

    Leaving the block normally closes the store; leaving it by an exception keeps committed shards only.

    Args:
        path: the folder.
        dim: width of the vectors.
        dtype: how numbers are kept. Half precision keeps three digits; a value above 65,504 is refused.
        similarity: "cosine" scales every row to unit length before it is kept; "dot" keeps rows as they are.
        shard_rows: rows a shard, the most that a crash can cost.
        meta: where the vectors come from; JSON. Continuing with other settings or another meta is refused.

    Raises:
        VectorsError: another process is writing here, or what lies here is something else.
    """

    def __init__(
        self,
        path: str | Path,
        dim: int,
        dtype: str = "float16",
        similarity: Similarity = "cosine",
        shard_rows: int = 16_384,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DenseManifest, path, shard_rows, meta, dim=dim, dtype=dtype, similarity=similarity)

    def append(self, ids: Sequence[str], rows: ArrayLike) -> None:
        """Add (R, dim) rows; they are committed whenever a shard is full.

        Raises:
            VectorsError: rows of another width, of another kind than numbers, not finite or too large for the type, a
                row of zeros under "cosine", an id given twice, a full disk. Nothing of a refused batch is added; after
                a full disk open a new writer to continue.
        """
        self._refuse_closed()
        stored = self._stored(ids, np.asarray(rows))
        self._refuse_repeats(ids)
        self._keep(ids, stored)

    def _stored(self, ids: Sequence[str], rows: NDArray[Any]) -> NDArray[Any]:
        """Rows as they will lie on the disk."""
        dim = self._manifest.dim
        if rows.ndim != 2 or rows.shape[1] != dim or rows.shape[0] != len(ids):
            raise VectorsError(f"rows of shape {rows.shape} for {len(ids)} ids", f"give ({len(ids)}, {dim})")
        if rows.dtype.kind not in "fiu":
            raise VectorsError(f"rows of type {rows.dtype}", "use floats")
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise VectorsError(
                f"the vector of {ids[int(np.argmin(finite))]!r} holds a value that is not a finite number",
                "look at the encoder's output",
            )
        if self._manifest.similarity == "cosine":
            lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
            if len(ids) and not lengths.all():
                raise VectorsError(
                    f"the vector of {ids[int(np.argmin(lengths))]!r} is all zeros and has no direction",
                    'leave the document out, or use similarity="dot"',
                )
            rows = rows / lengths
        with np.errstate(over="ignore"):
            stored: NDArray[Any] = rows.astype(self._manifest.dtype)
        fits = np.isfinite(stored).all(axis=1)
        if not fits.all():
            raise VectorsError(
                f"the vector of {ids[int(np.argmin(fits))]!r} does not fit {self._manifest.dtype}",
                'use dtype="float32"',
            )
        return stored

    def _join(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)

    def _cut(self, rows: NDArray[Any], first: int, last: int) -> NDArray[Any]:
        return rows[first:last]

    def _arrays(self, rows: NDArray[Any]) -> Arrays:
        return {"vectors": np.ascontiguousarray(rows).reshape(-1)}
