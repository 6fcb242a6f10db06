"""A collection of dense vectors on disk, read through memory maps. numpy only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.dense_layout import DenseManifest, load_dense_manifest, open_dense_shard
from distillir.vectors.ids import IdTable
from distillir.vectors.layout import shard_sha256

Blocks = Iterable[tuple[int, NDArray[np.float32]]]  # (position of the first row, rows)
_BLOCK = 1 << 14  # rows scored at a time
_GROUP = 1 << 10  # queries scored at a time: 64 MiB of scores


class DenseVectors:
    """N rows of `dim` numbers, each with a string id. Open with `DenseVectors.open`; any number of processes may.

    A score is always a plain dot product with a stored row. Under the similarity "cosine" the stored rows have unit
    length, so the dot product with a query of unit length is the cosine.

    Attributes:
        path: the folder.
        ids: (N,) ids in row order, decoded one at a time.
        meta: what the writer was told about their origin.
    """

    def __init__(self, path: Path, manifest: DenseManifest, shards: Sequence[dict[str, NDArray[Any]]]) -> None:
        self.path = path
        self.ids: Sequence[str] = (table := IdTable())
        self.meta: dict[str, Any] = dict(manifest.meta)
        self._table = table
        self._manifest = manifest
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        for shard in self._shards:
            table.add(shard["ids"], shard["id_offsets"], shard["id_hashes"])

    @classmethod
    def open(cls, path: str | Path, *, partial: bool = False) -> DenseVectors:
        """Open a finished store; with `partial`, also one whose writer has not closed it.

        Raises:
            VectorsError: missing, unfinished, or a shard that is missing, truncated or of another shape.
        """
        folder = Path(path)
        manifest = load_dense_manifest(folder)
        if not manifest.complete and not partial:
            raise VectorsError(
                f"{folder} is unfinished: {manifest.rows} rows so far",
                "run the same encoding again, it continues; or open it with partial=True",
            )
        return cls(folder, manifest, [open_dense_shard(folder, manifest, shard) for shard in manifest.shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._manifest.dim

    @property
    def dtype(self) -> str:
        """Type of the stored numbers; every method returns float32."""
        return self._manifest.dtype

    @property
    def similarity(self) -> str:
        """Either "cosine", where rows have unit length, or "dot"."""
        return self._manifest.similarity

    @property
    def encoder(self) -> str:
        """Which encoder the rows come from; empty where nobody said."""
        return str(self.meta.get("encoder", ""))

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

    def gather(self, positions: ArrayLike) -> NDArray[np.float32]:
        """(R, dim) the named rows in the named order, repeats allowed; reads those rows only.

        Raises:
            VectorsError: a position that is not an integer in [0, N).
        """
        rows = np.asarray(positions)
        if rows.size == 0:
            return np.empty((0, self.dim), np.float32)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise VectorsError(f"positions of shape {rows.shape} and type {rows.dtype}", "give a list of integers")
        if rows.min() < 0 or rows.max() >= len(self):
            raise VectorsError(f"positions {rows.min()} to {rows.max()} in {len(self)} rows", "ask for rows that exist")
        rows = rows.astype(np.int64)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
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

    def digest(self) -> str:
        """SHA-256 of dim, type, ids and rows; the same however the rows were cut into shards."""
        streams = {name: hashlib.sha256() for name in ("ids", "lengths", "vectors")}
        for shard in self._shards:
            streams["ids"].update(shard["ids"].data)
            streams["lengths"].update(np.diff(shard["id_offsets"]).data)
            streams["vectors"].update(shard["vectors"].reshape(-1).view(np.uint8).data)
        head = f"{self.dim} {self.dtype} {self.similarity} {len(self)}"
        return hashlib.sha256(" ".join([head, *(s.hexdigest() for s in streams.values())]).encode()).hexdigest()

    def verify(self) -> None:
        """Read everything and compare it with the hashes taken when it was written.

        Raises:
            VectorsError: naming the first damaged shard.
        """
        for shard, arrays in zip(self._manifest.shards, self._shards, strict=True):
            flat = {**arrays, "vectors": arrays["vectors"].reshape(-1)}
            if shard_sha256(flat) != shard.sha256:
                raise VectorsError(
                    f"{self.path / shard.name} has changed since it was written", "restore it, or encode again"
                )


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
