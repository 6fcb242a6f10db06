"""Exact search over memory-mapped vectors: sparse products with the inverted copy, nothing approximated.

    state.json            segments in order, the file of deleted rows, a generation number
    segment-000000/       vectors, postings and payloads of some documents
    deleted-000000.npy    rows, counted over all segments, that were deleted or replaced

Any number of processes may read; one at a time may write. A change counts from the moment the state names it, and readers
follow on their next search. Small segments are merged as they come, so N documents added one by one leave O(log N) of them.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SearchIndexError, VectorsError
from distillir.index.filters import dump_payload, where_tokens
from distillir.index.protocol import (
    Payload,
    ScoredId,
    SparseQuery,
    check_documents,
    check_k,
    check_query,
    index_errors,
)
from distillir.index.segment import Block, Segment, keep_best, load_segment, write_segment
from distillir.vectors import CSR, SparseVectors, csr_concat
from distillir.vectors.csr import take_rows
from distillir.vectors.files import FolderLock, disk_errors, map_array, read_json, save_array, write_json

_STATE = "state.json"


class _Snapshot(NamedTuple):
    """What a search sees; replaced as a whole by every change."""

    generation: int
    segments: tuple[Segment, ...]
    alive: tuple[NDArray[np.bool_], ...]


class ExactIndex:
    """The index in a folder; use `create_index` and `open_index`, or `ExactIndex.over` for a store that is there already.

    Args:
        folder: where `create` was called.
        dim: number of dimensions.
        encoder: which encoder the documents come from.
    """

    def __init__(self, folder: Path, dim: int, encoder: str = "") -> None:
        self.dim = dim
        self.encoder = encoder
        self._folder: Path | None = folder
        self._lock: FolderLock | None = None
        self._thread = threading.Lock()
        self._closed = False
        self._stamp: tuple[int, int] | None = None
        self._snapshot = _Snapshot(0, (), ())
        self._follow()

    @classmethod
    def over(cls, vectors: SparseVectors) -> ExactIndex:
        """Search a store of vectors where it lies, without copying it. Such an index has no payloads and cannot change."""
        index = cls.__new__(cls)
        index.dim, index.encoder = vectors.dim, str(vectors.meta.get("encoder", ""))
        index._folder, index._lock, index._thread, index._closed = None, None, threading.Lock(), False
        with index_errors():
            segment = Segment(vectors)
        if len(vectors) and any((block.values < 0).any() for _, block in vectors.blocks()):
            raise SearchIndexError(f"{vectors.path} holds negative weights", "index weights of zero or above")
        index._snapshot = _Snapshot(0, (segment,), (np.ones(len(vectors), bool),))
        return index

    @staticmethod
    def create(folder: Path, dim: int) -> None:  # noqa: ARG004
        """Write the state of an index without documents."""
        write_json(folder / _STATE, {"generation": 0, "segments": [], "deleted": None, "deleted_rows": 0})

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None = None) -> None:
        """Add or replace documents, durably; see `Index.add`."""
        checked = check_documents(ids, vectors, payloads, self.dim)
        texts = [dump_payload(p).encode() for p in payloads] if payloads is not None else [b"{}"] * len(ids)
        if not len(ids):
            return
        with self._thread, index_errors():
            now = self._begin()
            alive = _without(now, ids)
            counts = [int(np.count_nonzero(mask)) for mask in alive]
            keep, total = len(counts), len(ids)
            while keep and counts[keep - 1] <= 2 * total:
                keep -= 1
                total += counts[keep]
            merged = (block for part in range(keep, len(counts)) for block in now.segments[part].blocks(alive[part]))
            self._write(now, alive, keep, itertools.chain(merged, [Block(ids, checked, texts)]))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents, durably; see `Index.delete`."""
        with self._thread, index_errors():
            now = self._begin()
            alive = _without(now, ids)
            if any((old != new).any() for old, new in zip(now.alive, alive, strict=True)):
                self._commit(_Snapshot(now.generation + 1, now.segments, alive))

    def optimize(self) -> None:
        """Rewrite everything as one segment without deleted documents."""
        with self._thread, index_errors():
            now = self._begin()
            blocks = (b for segment, mask in zip(now.segments, now.alive, strict=True) for b in segment.blocks(mask))
            if len(now.segments) > 1 or not all(mask.all() for mask in now.alive):
                self._write(now, now.alive, 0, blocks)

    def search(self, query: SparseQuery, k: int, where: Payload | None = None) -> list[ScoredId]:
        """The k best documents; see `Index.search`."""
        return self.search_batch([query], k, where)[0]

    def search_batch(self, queries: Sequence[SparseQuery], k: int, where: Payload | None = None) -> list[list[ScoredId]]:
        """`search` for many queries at once, by one sparse product a segment."""
        check_k(k)
        checked = [check_query(query, self.dim) for query in queries]
        now = self._follow()
        results: list[list[ScoredId]] = [[] for _ in checked]
        asked = [i for i, query in enumerate(checked) if len(query.indices)]
        if not asked:
            return results
        allowed = now.alive
        if where:
            tokens = where_tokens(where)
            allowed = tuple(m & s.matching(tokens) for m, s in zip(now.alive, now.segments, strict=True))
        streams = [
            segment.best([checked[i] for i in asked], k, mask)
            for segment, mask in zip(now.segments, allowed, strict=True)
        ]
        for i in asked:
            found = [next(stream) for stream in streams]
            results[i] = _ranked(now.segments, found, k)
        return results

    def vectors(self, ids: Sequence[str]) -> CSR:
        """(len(ids), dim) vectors in the order of the ids; see `Index.vectors`."""
        now = self._follow()
        part, row = _locate(now, ids)
        rows = [now.segments[p].store.gather(row[part == p]) for p in range(len(now.segments))]
        back = np.empty(len(ids), np.int64)
        back[np.argsort(part, kind="stable")] = np.arange(len(ids))
        return take_rows(*csr_concat(rows), back)

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Payloads in the order of the ids; see `Index.payloads`."""
        now = self._follow()
        places = zip(*(a.tolist() for a in _locate(now, ids)), strict=True)
        return [json.loads(now.segments[part].payload(row)) for part, row in places]

    def __len__(self) -> int:
        return sum(int(np.count_nonzero(mask)) for mask in self._follow().alive)

    def close(self) -> None:
        """Let the files and the writer's lock go."""
        self._closed = True
        self._snapshot = _Snapshot(0, (), ())
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> _Snapshot:
        """The current snapshot, after a look at whether another process has changed it."""
        if self._closed:
            raise SearchIndexError("this index is closed", "open it again")
        if self._folder is None or self._lock is not None:
            return self._snapshot
        with index_errors():
            while True:
                with disk_errors(self._folder, "restore the folder, or build the index again"):
                    status = (self._folder / _STATE).stat()
                stamp = (status.st_ino, status.st_mtime_ns)
                if stamp == self._stamp:
                    return self._snapshot
                state = read_json(self._folder / _STATE)
                try:
                    self._snapshot, self._stamp = self._load(state), stamp
                except (VectorsError, SearchIndexError):
                    # A writer may have merged away a segment between the two reads.
                    if read_json(self._folder / _STATE) == state:
                        raise

    def _load(self, state: dict[str, Any]) -> _Snapshot:
        assert self._folder is not None
        known = {segment.name: segment for segment in self._snapshot.segments}
        try:
            names, generation = list(state["segments"]), int(state["generation"])
            deleted, count = state["deleted"], int(state["deleted_rows"])
        except (KeyError, TypeError, ValueError) as error:
            raise SearchIndexError(f"{self._folder / _STATE} is damaged: {error}", "build the index again") from error
        segments = tuple(known.get(name) or load_segment(self._folder / name) for name in names)
        alive = np.ones(sum(map(len, segments)), bool)
        if deleted is not None:
            alive[map_array(self._folder / deleted, "int64", count)] = False
        return _Snapshot(generation, segments, tuple(np.split(alive, np.cumsum([len(s) for s in segments])[:-1])))

    def _begin(self) -> _Snapshot:
        """Become the writer, if this process is not yet, and sweep what a killed one left."""
        if self._folder is None:
            raise SearchIndexError("an index over a store cannot change", "use create_index and add the documents")
        if self._lock is None and not self._closed:
            lock = FolderLock(self._folder / ".lock")
            try:
                now = self._follow()
                self._sweep(now)
            except BaseException:
                lock.release()
                raise
            self._lock = lock
        return self._follow()

    def _write(
        self, now: _Snapshot, alive: tuple[NDArray[np.bool_], ...], keep: int, blocks: Iterator[Block]
    ) -> None:
        assert self._folder is not None
        path = self._folder / f"segment-{now.generation + 1:06d}"
        if path.exists():
            shutil.rmtree(path)
        try:
            segment = write_segment(path, self.dim, blocks)
            masks = (*alive[:keep], np.ones(len(segment), bool))
            self._commit(_Snapshot(now.generation + 1, (*now.segments[:keep], segment), masks))
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise

    def _commit(self, new: _Snapshot) -> None:
        assert self._folder is not None
        dead = np.flatnonzero(~np.concatenate(new.alive))
        name = f"deleted-{new.generation:06d}.npy" if len(dead) else None
        with disk_errors(self._folder, "the documents acknowledged so far are intact"):
            if name:
                save_array(self._folder / name, dead)
            write_json(
                self._folder / _STATE,
                {
                    "generation": new.generation,
                    "segments": [segment.name for segment in new.segments],
                    "deleted": name,
                    "deleted_rows": len(dead),
                },
            )
        self._snapshot = new
        self._sweep(new)

    def _sweep(self, now: _Snapshot) -> None:
        assert self._folder is not None
        named = {segment.name for segment in now.segments}
        for item in self._folder.glob("segment-*"):
            if item.name not in named:
                shutil.rmtree(item, ignore_errors=True)  # a reader that maps its files keeps them
        for item in self._folder.glob("deleted-*.npy"):
            if item.name != f"deleted-{now.generation:06d}.npy":
                item.unlink(missing_ok=True)


def _without(now: _Snapshot, ids: Sequence[str]) -> tuple[NDArray[np.bool_], ...]:
    """The masks of living documents after these are gone."""
    masks = []
    for segment, alive in zip(now.segments, now.alive, strict=True):
        found = segment.store.find(ids)
        mask = alive.copy()
        mask[found[found >= 0]] = False
        masks.append(mask)
    return tuple(masks)


def _locate(now: _Snapshot, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Segment number and row of each id."""
    part, row = np.full(len(ids), -1, np.int64), np.zeros(len(ids), np.int64)
    for number, (segment, alive) in enumerate(zip(now.segments, now.alive, strict=True)):
        with index_errors():
            found = segment.store.find(ids)
        here = np.flatnonzero(found >= 0)
        here = here[alive[found[here]]]
        part[here], row[here] = number, found[here]
    if len(ids) and part.min() < 0:
        raise SearchIndexError(f"no document has the id {ids[int(np.argmin(part))]!r}", "add it first")
    return part, row


def _ranked(
    segments: Sequence[Segment], found: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int
) -> list[ScoredId]:
    part = np.concatenate([np.full(len(rows), i) for i, (rows, _) in enumerate(found)])
    rows = np.concatenate([rows for rows, _ in found])
    kept, scores = keep_best(np.arange(len(rows)), np.concatenate([scores for _, scores in found]), k)
    hits = [
        ScoredId(segments[part[i]].store.ids[int(rows[i])], score)
        for i, score in zip(kept.tolist(), scores.tolist(), strict=True)
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]
