"""Writing a collection of dense vectors so that a crash costs at most the shard in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import VectorsError
from distillir.vectors.dense_layout import (
    DenseManifest,
    DenseShard,
    Similarity,
    load_dense_manifest,
    open_dense_shard,
)
from distillir.vectors.files import FolderLock, disk_errors, publish_folder, save_array
from distillir.vectors.ids import IdTable, pack_ids
from distillir.vectors.layout import LOCK, MANIFEST, shard_sha256


class DenseVectorsWriter:
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
        if shard_rows < 1:
            raise VectorsError(f"shard_rows is {shard_rows}", "use at least 1")
        self.path = Path(path)
        self._shard_rows = shard_rows
        wanted = DenseManifest(dim, dtype, similarity, json.loads(json.dumps(dict(meta or {}), allow_nan=False)))
        with disk_errors(self.path, "nothing was written"):
            fresh = not (self.path / MANIFEST).exists()
            self.path.mkdir(parents=True, exist_ok=True)
            if fresh and any(not item.name.startswith(".") for item in self.path.iterdir()):
                raise VectorsError(f"{self.path} holds other files", "choose an empty folder")
            self._lock = FolderLock(self.path / LOCK)
        try:
            self._manifest = self._recover(wanted)
        except BaseException:
            self._lock.release()
            raise
        self._table = IdTable()
        for shard in self._manifest.shards:
            arrays = open_dense_shard(self.path, self._manifest, shard)
            self._table.add(arrays["ids"], arrays["id_offsets"], arrays["id_hashes"])
        self._parts: list[NDArray[Any]] = []
        self._ids: list[str] = []
        self._known: set[str] = set()

    @property
    def committed(self) -> int:
        """Rows that survive a crash."""
        return self._manifest.rows

    def __len__(self) -> int:
        return self.committed + len(self._ids)

    def has(self, row_id: str) -> bool:
        """Whether an id was appended, in this run or before it."""
        return row_id in self._known or bool(self._table.find([row_id])[0] >= 0)

    def append(self, ids: Sequence[str], rows: ArrayLike) -> None:
        """Add (R, dim) rows; they are committed whenever a shard is full.

        Raises:
            VectorsError: rows of another width, of another kind than numbers, not finite or too large for the type, a
                row of zeros under "cosine", an id given twice, a full disk. Nothing of a refused batch is added; after
                a full disk open a new writer to continue.
        """
        if self._lock.released:
            raise VectorsError(f"{self.path} is closed", "open a new writer to append")
        stored = self._stored(ids, np.asarray(rows))
        self._refuse_repeats(ids)
        self._parts.append(stored)
        self._ids.extend(ids)
        self._known.update(ids)
        while len(self._ids) >= self._shard_rows:
            self._commit()

    def flush(self) -> None:
        """Commit what is in memory, as a shorter shard."""
        if self._ids:
            self._commit()

    def close(self) -> None:
        """Commit the rest and mark the store complete; closing twice is harmless."""
        if self._lock.released:
            return
        if self._ids:
            self._commit(complete=True)
        elif not self._manifest.complete:
            self._publish(self._manifest.shards, complete=True)
        self._lock.release()

    def __enter__(self) -> DenseVectorsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._lock.release()

    def _recover(self, wanted: DenseManifest) -> DenseManifest:
        with disk_errors(self.path, "nothing was written"):
            if not (self.path / MANIFEST).exists():
                wanted.save(self.path)
                return wanted
            stored = load_dense_manifest(self.path)
            for name in ("dim", "dtype", "similarity", "meta"):
                here, given = getattr(stored, name), getattr(wanted, name)
                if here != given:
                    raise VectorsError(
                        f"{self.path} was written with {name} {here!r}, not {given!r}",
                        "continue with the same settings, or choose another folder",
                    )
            named = {shard.name for shard in stored.shards}
            for item in self.path.iterdir():
                if item.name.startswith(".tmp-shard") or (item.name.startswith("shard-") and item.name not in named):
                    shutil.rmtree(item)
            return stored

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

    def _refuse_repeats(self, ids: Sequence[str]) -> None:
        seen: set[str] = set()
        for name, old in zip(ids, (self._table.find(ids) >= 0).tolist(), strict=True):
            if old or name in self._known or name in seen:
                raise VectorsError(f"the id {name!r} was already appended to {self.path}", "give each row its own id")
            seen.add(name)

    def _commit(self, *, complete: bool = False) -> None:
        try:
            self._write_shard(complete=complete)
        except BaseException:
            self._lock.release()  # what is on disk is only known to the next writer, which looks and sweeps
            raise

    def _write_shard(self, *, complete: bool) -> None:
        everything = np.concatenate(self._parts)
        cut = min(self._shard_rows, len(self._ids))
        blob, offsets, hashes = pack_ids(self._ids[:cut])
        flat = np.ascontiguousarray(everything[:cut]).reshape(-1)
        arrays = {"vectors": flat, "ids": blob, "id_offsets": offsets, "id_hashes": hashes}
        name = f"shard-{len(self._manifest.shards):06d}"
        temporary = self.path / ".tmp-shard"
        with disk_errors(self.path, f"{self.committed} rows are committed and intact; run again to continue"):
            try:
                temporary.mkdir()
                for key, array in arrays.items():
                    save_array(temporary / f"{key}.npy", array)
            except OSError:
                shutil.rmtree(temporary, ignore_errors=True)  # give the space back
                raise
            publish_folder(temporary, self.path / name)
        shard = DenseShard(name, cut, len(blob), shard_sha256(arrays))
        self._publish((*self._manifest.shards, shard), complete=complete)
        self._table.add(blob, offsets, hashes)
        self._known.difference_update(self._ids[:cut])
        self._ids, self._parts = self._ids[cut:], [everything[cut:]]

    def _publish(self, shards: tuple[DenseShard, ...], *, complete: bool) -> None:
        now = self._manifest
        manifest = DenseManifest(now.dim, now.dtype, now.similarity, now.meta, complete, shards)
        with disk_errors(self.path, f"{self.committed} rows are committed and intact; run again to continue"):
            manifest.save(self.path)
        self._manifest = manifest
