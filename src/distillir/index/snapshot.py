"""One moment of an exact index: its segments and which of their rows are alive. A change makes a new one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SearchIndexError
from distillir.index.filters import where_tokens
from distillir.index.protocol import Block, Payload, ScoredId, SparseQuery
from distillir.index.segment import Segment, keep_best, load_segment
from distillir.vectors.files import map_array, save_array, write_json

STATE = "state.json"
EMPTY_STATE = {"generation": 0, "segments": [], "deleted": None, "deleted_rows": 0}


class Snapshot(NamedTuple):
    """What a search sees.

    Attributes:
        generation: number of changes so far.
        segments: oldest first; an id is alive in at most one of them.
        alive: for each segment (rows,) bool.
    """

    generation: int
    segments: tuple[Segment, ...]
    alive: tuple[NDArray[np.bool_], ...]

    def __len__(self) -> int:
        return sum(self.counts())

    def counts(self) -> list[int]:
        """Living documents of each segment."""
        return [int(np.count_nonzero(mask)) for mask in self.alive]

    def without(self, ids: Sequence[str]) -> Snapshot:
        """The next snapshot, in which these ids are dead."""
        masks = []
        for segment, alive in zip(self.segments, self.alive, strict=True):
            found = segment.store.find(ids)
            mask = alive.copy()
            mask[found[found >= 0]] = False
            masks.append(mask)
        return Snapshot(self.generation + 1, self.segments, tuple(masks))

    def blocks(self, first: int) -> Iterator[Block]:
        """The living documents of the segments from `first` on, a bounded number at a time."""
        for segment, mask in zip(self.segments[first:], self.alive[first:], strict=True):
            yield from segment.blocks(mask)

    def locate(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Segment number and row of each id.

        Raises:
            SearchIndexError: naming the first id that is not alive.
        """
        part, row = np.full(len(ids), -1, np.int64), np.zeros(len(ids), np.int64)
        for number, (segment, alive) in enumerate(zip(self.segments, self.alive, strict=True)):
            found = segment.store.find(ids)
            here = np.flatnonzero(found >= 0)
            here = here[alive[found[here]]]
            part[here], row[here] = number, found[here]
        if len(ids) and part.min() < 0:
            raise SearchIndexError(f"no document has the id {ids[int(np.argmin(part))]!r}", "add it first")
        return part, row

    def search(self, queries: Sequence[SparseQuery], k: int, where: Payload | None) -> Iterator[list[ScoredId]]:
        """The k best living documents of each query."""
        allowed = self.alive
        if where:
            tokens = where_tokens(where)
            allowed = tuple(m & s.matching(tokens) for m, s in zip(self.alive, self.segments, strict=True))
        pairs = zip(self.segments, allowed, strict=True)
        streams = [segment.best(queries, k, mask) for segment, mask in pairs]
        for _ in queries:
            yield self._ranked([next(stream) for stream in streams], k)

    def _ranked(self, found: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int) -> list[ScoredId]:
        part = np.repeat(np.arange(len(found)), [len(rows) for rows, _ in found])
        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in found)])
        scores = np.concatenate([np.empty(0, np.float32), *(scores for _, scores in found)])
        kept, best = keep_best(np.arange(len(rows)), scores, k)
        hits = [
            ScoredId(self.segments[part[i]].store.ids[int(rows[i])], score)
            for i, score in zip(kept.tolist(), best.tolist(), strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]


def load_snapshot(folder: Path, state: dict[str, Any], known: Sequence[Segment]) -> Snapshot:
    """The snapshot that a state describes; segments that are already open are kept.

    Raises:
        SearchIndexError: the state is damaged or names a segment that is gone. VectorsError: a segment is damaged.
    """
    opened = {segment.name: segment for segment in known}
    try:
        names, generation = [str(name) for name in state["segments"]], int(state["generation"])
        deleted, count = state["deleted"], int(state["deleted_rows"])
    except (KeyError, TypeError, ValueError) as error:
        raise SearchIndexError(f"{folder / STATE} is damaged: {error!r}", "build the index again") from error
    segments = tuple(opened.get(name) or load_segment(folder / name) for name in names)
    dead = np.empty(0, np.int64) if deleted is None else map_array(folder / str(deleted), "int64", count)
    alive, start = [], 0
    for segment in segments:
        mask = np.ones(len(segment), bool)
        mask[dead[(dead >= start) & (dead < start + len(segment))] - start] = False
        alive.append(mask)
        start += len(segment)
    return Snapshot(generation, segments, tuple(alive))


def save_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Make a snapshot the folder's state; its segments are on disk already."""
    dead = np.flatnonzero(~np.concatenate(snapshot.alive))
    name = f"deleted-{snapshot.generation:06d}.npy" if len(dead) else None
    if name:
        save_array(folder / name, dead)
    names = [segment.name for segment in snapshot.segments]
    state = {"generation": snapshot.generation, "segments": names, "deleted": name, "deleted_rows": len(dead)}
    write_json(folder / STATE, state)


def sweep(folder: Path, snapshot: Snapshot) -> None:
    """Remove what the snapshot does not name; a reader that still maps such files keeps its pages."""
    named = {segment.name for segment in snapshot.segments}
    for item in folder.glob("segment-*"):
        if item.name not in named:
            shutil.rmtree(item, ignore_errors=True)
    for item in folder.glob("deleted-*.npy"):
        if item.name != f"deleted-{snapshot.generation:06d}.npy":
            item.unlink(missing_ok=True)
