"""Writing a collection shard by shard, so that a crash costs at most the shard in memory: sparse and dense alike."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from distillir.errors import VectorsError
from distillir.vectors.files import FolderLock, disk_errors, publish_folder, save_array
from distillir.vectors.ids import IdTable, pack_ids
from distillir.vectors.layout import LOCK, MANIFEST, Arrays, M

R = TypeVar("R")  # rows in memory: a `CSR`, or a (rows, dim) array


class ShardWriter(ABC, Generic[M, R]):
    """Appends rows to a store, creating it, or continuing after the last committed shard.

    A kind checks what it is given and calls `_keep`; it says how its rows are joined, cut and laid into arrays.

    Args:
        kind: the manifest's type.
        path: the folder.
        shard_rows: rows a shard, the most that a crash can cost.
        meta: where the vectors come from; JSON.
        settings: the manifest's fields named in its `settings`.

    Raises:
        VectorsError: another process is writing here, what lies here is something else or was written with other
            settings or meta, or meta is not JSON.
    """

    def __init__(
        self, kind: type[M], path: str | Path, shard_rows: int, meta: Mapping[str, Any] | None, **settings: Any
    ) -> None:
        if shard_rows < 1:
            raise VectorsError(f"shard_rows is {shard_rows}", "use at least 1")
        self.path = Path(path)
        self._shard_rows = shard_rows
        build: Callable[..., M] = kind
        wanted = build(meta=_plain(meta or {}), **settings)
        with disk_errors(self.path, "nothing was written"):
            fresh = not (self.path / MANIFEST).exists()
            self.path.mkdir(parents=True, exist_ok=True)
            if fresh and any(not item.name.startswith(".") for item in self.path.iterdir()):
                raise VectorsError(f"{self.path} holds other files", "choose an empty folder")
            self._lock = FolderLock(self.path / LOCK)
        try:
            self._manifest = self._recover(wanted)
            self._table = IdTable()
            for shard in self._manifest.shards:
                arrays = self._manifest.open_shard(self.path, shard)
                self._table.add(arrays["ids"], arrays["id_offsets"], arrays["id_hashes"])
        except BaseException:
            self._lock.release()
            raise
        self._parts: list[R] = []
        self._ids: list[str] = []
        self._known: set[str] = set()

    @abstractmethod
    def _join(self, parts: Sequence[R]) -> R: ...

    @abstractmethod
    def _cut(self, rows: R, first: int, last: int) -> R: ...

    @abstractmethod
    def _arrays(self, rows: R) -> Arrays: ...

    @property
    def committed(self) -> int:
        """Rows that survive a crash."""
        return self._manifest.rows

    def __len__(self) -> int:
        return self.committed + len(self._ids)

    def has(self, row_id: str) -> bool:
        """Whether an id was appended, in this run or before it."""
        return row_id in self._known or bool(self._table.find([row_id])[0] >= 0)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._lock.release()

    def _recover(self, wanted: M) -> M:
        with disk_errors(self.path, "nothing was written"):
            if not (self.path / MANIFEST).exists():
                wanted.save(self.path)
                return wanted
            stored = wanted.load(self.path)
            for name in (*wanted.settings, "meta"):
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

    def _refuse_closed(self) -> None:
        if self._lock.released:
            raise VectorsError(f"{self.path} is closed", "open a new writer to append")

    def _refuse_repeats(self, ids: Sequence[str]) -> None:
        seen: set[str] = set()
        stored = self._table.find(ids) >= 0
        for name, old in zip(ids, stored.tolist(), strict=True):
            if old or name in self._known or name in seen:
                raise VectorsError(f"the id {name!r} was already appended to {self.path}", "give each row its own id")
            seen.add(name)

    def _keep(self, ids: Sequence[str], rows: R) -> None:
        """Take checked rows into memory, and commit whatever fills a shard."""
        self._parts.append(rows)
        self._ids.extend(ids)
        self._known.update(ids)
        while len(self._ids) >= self._shard_rows:
            self._commit()

    def _commit(self, *, complete: bool = False) -> None:
        try:
            self._write_shard(complete=complete)
        except BaseException:
            self._lock.release()  # what is on disk is only known to the next writer, which looks and sweeps
            raise

    def _write_shard(self, *, complete: bool) -> None:
        everything = self._join(self._parts)
        total = len(self._ids)
        cut = min(self._shard_rows, total)
        blob, offsets, hashes = pack_ids(self._ids[:cut])
        rows = self._arrays(self._cut(everything, 0, cut))
        arrays: Arrays = {**rows, "ids": blob, "id_offsets": offsets, "id_hashes": hashes}
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
        shard = self._manifest.record(name, cut, arrays)
        self._publish((*self._manifest.shards, shard), complete=complete)
        self._table.add(blob, offsets, hashes)
        self._known.difference_update(self._ids[:cut])
        self._ids, self._parts = self._ids[cut:], [self._cut(everything, cut, total)]

    def _publish(self, shards: tuple[Any, ...], *, complete: bool) -> None:
        manifest = replace(self._manifest, complete=complete, shards=shards)
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
