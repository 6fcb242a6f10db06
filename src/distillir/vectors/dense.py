"""A collection of dense vectors on disk, read through memory maps. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.collection import VectorCollection
from distillir.vectors.dense_layout import DenseManifest

Blocks = Iterable[tuple[int, NDArray[np.float32]]]  # (position of the first row, rows)
_BLOCK = 1 << 14  # rows scored at a time
_GROUP = 1 << 10  # queries scored at a time: 64 MiB of scores


class DenseVectors(VectorCollection[DenseManifest]):
    """N rows of `dim` numbers, each with a string id. Open with `DenseVectors.open`; any number of processes may.

    A score is always a plain dot product with a stored row. Under the similarity "cosine" the stored rows have unit
    length, so the dot product with a query of unit length is the cosine.

    Attributes:
        path: the folder.
        ids: (N,) ids in row order, decoded one at a time.
        meta: what the writer was told about their origin.
    """

    _row_arrays = ("vectors",)

    @classmethod
    def _load_manifest(cls, folder: Path) -> DenseManifest:
        return DenseManifest.load(folder)

    @property
    def similarity(self) -> str:
        """Either "cosine", where rows have unit length, or "dot"."""
        return self._manifest.similarity

    @property
    def encoder(self) -> str:
        """Which encoder the rows come from; empty where nobody said."""
        return str(self.meta.get("encoder", ""))

    def gather(self, positions: ArrayLike) -> NDArray[np.float32]:
        """(R, dim) the named rows in the named order, repeats allowed; reads those rows only.

        Raises:
            VectorsError: a position that is not an integer in [0, N).
        """
        rows, owner = self._located(positions)
        out = np.empty((len(rows), self.dim), np.float32)
        for shard in np.unique(owner).tolist():
            here = owner == shard
            out[here] = self._shards[shard]["vectors"][rows[here] - self._starts[shard]]
        return out

    def blocks(self, rows: int = _BLOCK) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(position of the first row, at most `rows` rows), a bounded number in memory at a time."""
        for number, start in enumerate(self._starts[:-1].tolist()):
            stored = self._shards[number]["vectors"]
            for first in range(0, len(stored), rows):
                yield start + first, np.asarray(stored[first : first + rows], np.float32)

    def nearest(self, queries: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k rows of highest dot product with each query, by an exact scan.

        Args:
            queries: (Q, dim).
            k: rows a query; all of them where the store has fewer.

        Returns:
            rows (Q, k) best first, equal scores in row order, and their scores (Q, k).

        Raises:
            VectorsError: queries of another width or that are not finite, or k below 1.
        """
        asked = checked_queries(queries, self.dim)
        if k < 1:
            raise VectorsError(f"k is {k}", "ask for at least one row")
        return nearest_in(self.blocks, asked, min(k, len(self)))


def checked_queries(queries: ArrayLike, dim: int) -> NDArray[np.float32]:
    """(Q, dim) float32 queries.

    Raises:
        VectorsError: of another shape, or not finite.
    """
    asked = np.ascontiguousarray(queries, np.float32)
    if asked.ndim != 2 or asked.shape[1] != dim:
        raise VectorsError(f"queries of shape {asked.shape} for vectors of width {dim}", f"give (queries, {dim})")
    if not np.isfinite(asked).all():
        raise VectorsError("a query holds a value that is not a finite number", "look at the encoder's output")
    return asked


def nearest_in(
    blocks: Callable[[], Blocks], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`DenseVectors.nearest` over any source of blocks: a callable that starts the walk anew for each group of queries.

    There must be at least k rows.
    """
    rows, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for first in range(0, len(queries), _GROUP):
        group = queries[first : first + _GROUP]
        best = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(group)
        for start, block in blocks():
            product = group @ block.T  # (Q, R)
            for i, row in enumerate(product):
                held, values = best[i]
                kept = _highest(row, k)
                merged = np.concatenate([values, row[kept]])
                places = np.concatenate([held, kept + start])
                cut = _highest(merged, k)
                best[i] = places[cut], merged[cut]
        for i, (found, values) in enumerate(best):
            order = np.lexsort((found, -values))
            rows[first + i], scores[first + i] = found[order], values[order]
    return rows, scores


def _highest(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k highest, ascending; of equal ones the first."""
    if len(scores) <= k:
        return np.arange(len(scores))
    if k == 0:
        return np.empty(0, np.int64)
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > last)
    return np.sort(np.concatenate([above, np.flatnonzero(scores == last)[: k - len(above)]]))
