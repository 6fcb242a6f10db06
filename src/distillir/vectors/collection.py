"""A collection of vectors on disk, read through memory maps: what sparse and dense ones have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.ids import IdTable
from distillir.vectors.layout import Arrays, M, shard_sha256

_POINTERS = {"id_offsets", "indptr"}  # counted from the start of their shard


class VectorCollection(ABC, Generic[M]):
    """N rows, each with a string id. Open with `open`; any number of processes may.

    Attributes:
        path: the folder.
        ids: (N,) ids in row order, decoded one at a time.
        meta: what the writer was told about their origin, such as the encoder's hash.
    """

    _row_arrays: ClassVar[tuple[str, ...]]  # what `digest` reads besides the ids

    def __init__(self, path: Path, manifest: M, shards: Sequence[Arrays]) -> None:
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
    @abstractmethod
    def _load_manifest(cls, folder: Path) -> M: ...

    @classmethod
    def open(cls, path: str | Path, *, partial: bool = False) -> Self:
        """Open a finished store; with `partial`, also one whose writer has not closed it.

        Raises:
            VectorsError: missing, unfinished, or a shard that is missing, truncated or of another shape.
        """
        folder = Path(path)
        manifest = cls._load_manifest(folder)
        if not manifest.complete and not partial:
            raise VectorsError(
                f"{folder} is unfinished: {manifest.rows} rows so far",
                "run the same encoding again, it continues; or open it with partial=True",
            )
        return cls(folder, manifest, [manifest.open_shard(folder, shard) for shard in manifest.shards])

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes the path: rows stay where they are."""
        return _opened, (type(self), self.path.absolute())

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def dim(self) -> int:
        """Number of dimensions: the vocabulary size of sparse vectors, the width of dense ones."""
        return self._manifest.dim

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

    def digest(self) -> str:
        """SHA-256 of dim, type, ids and rows; the same however the rows were cut into shards."""
        streams = {name: hashlib.sha256() for name in ("ids", "id_offsets", *self._row_arrays)}
        for shard in self._shards:
            for name, stream in streams.items():
                array = np.diff(shard[name]) if name in _POINTERS else shard[name]
                stream.update(array.reshape(-1).view(np.uint8).data)
        settings = [str(getattr(self._manifest, name)) for name in self._manifest.settings]
        parts = [*settings, str(len(self)), *(stream.hexdigest() for stream in streams.values())]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

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

    def _located(self, positions: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(P,) row positions, known to exist, and (P,) the number of the shard that holds each."""
        rows = np.asarray(positions)
        if rows.size == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise VectorsError(f"positions of shape {rows.shape} and type {rows.dtype}", "give a list of integers")
        if rows.min() < 0 or rows.max() >= len(self):
            raise VectorsError(f"positions {rows.min()} to {rows.max()} in {len(self)} rows", "ask for rows that exist")
        rows = rows.astype(np.int64)
        return rows, np.searchsorted(self._starts, rows, side="right") - 1


def _opened(kind: type[VectorCollection[Any]], path: Path) -> VectorCollection[Any]:
    return kind.open(path, partial=True)
