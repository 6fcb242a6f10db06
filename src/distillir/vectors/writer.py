"""Writing a collection of sparse vectors so that a crash costs at most the shard in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import VectorsError
from distillir.vectors.csr import CSR, check_csr, csr_concat, take_rows
from distillir.vectors.files import FolderLock, disk_errors, publish_folder, save_array
from distillir.vectors.ids import IdTable, pack_ids
from distillir.vectors.layout import LOCK, MANIFEST, Manifest, Shard, load_manifest, open_shard, shard_sha256


class SparseVectorsWriter:
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
        if shard_rows < 1:
            raise VectorsError(f"shard_rows is {shard_rows}", "use at least 1")
        self.path = Path(path)
        self._shard_rows = shard_rows
        wanted = Manifest(dim, dtype, _plain(meta or {}))
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
            arrays = open_shard(self.path, self._manifest, shard)
            self._table.add(arrays["ids"], arrays["id_offsets"], arrays["id_hashes"])
        self._parts: list[CSR] = []
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

    def append(self, ids: Sequence[str], rows: CSR) -> None:
        """Add rows; they are committed whenever a shard is full. Zeros (also those of rounding) are not stored.

        Raises:
            VectorsError: rows that `check_csr` refuses, a value too large for the type, an id given twice, a full disk.
                Nothing of a refused batch is added; after a full disk open a new writer to continue.
        """
        if self._lock.released:
            raise VectorsError(f"{self.path} is closed", "open a new writer to append")
        checked = check_csr(*rows, self._manifest.dim)
        if checked.rows != len(ids):
            raise VectorsError(f"{len(ids)} ids for {checked.rows} rows", "give one id a row")
        self._refuse_repeats(ids)
        self._parts.append(self._quantised(ids, checked))
        self._ids.extend(ids)
        self._known.update(ids)
        while len(self._ids) >= self._shard_rows:
            self._commit(self._shard_rows)

    def flush(self) -> None:
        """Commit what is in memory, as a shorter shard."""
        if self._ids:
            self._commit(self._shard_rows)

    def close(self) -> None:
        """Commit the rest and mark the store complete; closing twice is harmless."""
        if self._lock.released:
            return
        if self._ids:
            self._commit(self._shard_rows, complete=True)
        elif not self._manifest.complete:
            self._publish(self._manifest.shards, complete=True)
        self._lock.release()

    def __enter__(self) -> SparseVectorsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._lock.release()

    def _recover(self, wanted: Manifest) -> Manifest:
        with disk_errors(self.path, "nothing was written"):
            if not (self.path / MANIFEST).exists():
                wanted.save(self.path)
                return wanted
            stored = load_manifest(self.path)
            for name in ("dim", "dtype", "meta"):
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

    def _refuse_repeats(self, ids: Sequence[str]) -> None:
        seen: set[str] = set()
        stored = self._table.find(ids) >= 0
        for name, old in zip(ids, stored.tolist(), strict=True):
            if old or name in self._known or name in seen:
                raise VectorsError(f"the id {name!r} was already appended to {self.path}", "give each row its own id")
            seen.add(name)

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

    def _commit(self, rows: int, *, complete: bool = False) -> None:
        try:
            self._write_shard(rows, complete=complete)
        except BaseException:
            self._lock.release()  # what is on disk is only known to the next writer, which looks and sweeps
            raise

    def _write_shard(self, rows: int, *, complete: bool) -> None:
        everything = csr_concat(self._parts)
        cut = min(rows, len(self._ids))
        head = take_rows(*everything, np.arange(cut))
        blob, offsets, hashes = pack_ids(self._ids[:cut])
        arrays: dict[str, NDArray[Any]] = {
            "indptr": head.indptr,
            "indices": head.indices.astype(self._manifest.index_dtype),
            "values": head.values.astype(self._manifest.dtype),
            "ids": blob,
            "id_offsets": offsets,
            "id_hashes": hashes,
        }
        name = f"shard-{len(self._manifest.shards):06d}"
        temporary, final = self.path / ".tmp-shard", self.path / name
        with disk_errors(self.path, f"{self.committed} rows are committed and intact; run again to continue"):
            try:
                temporary.mkdir()
                for key, array in arrays.items():
                    save_array(temporary / f"{key}.npy", array)
            except OSError:
                shutil.rmtree(temporary, ignore_errors=True)  # give the space back
                raise
            publish_folder(temporary, final)
        shard = Shard(name, cut, len(head.indices), len(blob), shard_sha256(arrays))
        self._publish((*self._manifest.shards, shard), complete=complete)
        self._table.add(blob, offsets, hashes)
        self._known.difference_update(self._ids[:cut])
        self._ids = self._ids[cut:]
        self._parts = [take_rows(*everything, np.arange(cut, everything.rows))]

    def _publish(self, shards: tuple[Shard, ...], *, complete: bool) -> None:
        manifest = Manifest(self._manifest.dim, self._manifest.dtype, self._manifest.meta, complete, shards)
        with disk_errors(self.path, f"{self.committed} rows are committed and intact; run again to continue"):
            manifest.save(self.path)
        self._manifest = manifest


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Meta as it will be read back, so that a comparison is fair."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(meta), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise VectorsError(f"meta is not JSON: {error}", "use strings, numbers, lists and mappings") from error
    return plain
