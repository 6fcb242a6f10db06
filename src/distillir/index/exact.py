"""Exact search over memory-mapped vectors: sparse products with the inverted copy, nothing approximated.

    state.json            segments in order, the file of deleted rows, a generation number
    segment-000001/       vectors, postings and payloads of some documents
    deleted-000002.npy    rows, counted over all segments, that were deleted or replaced

Any number of processes may read; one at a time may write. A change counts from the moment the state names it,
and readers follow on their next search. Small segments are merged as they come, so N documents added one by one
leave O(log N) of them.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillir.closing import Closing
from distillir.errors import SearchIndexError, VectorsError
from distillir.index.filters import dump_payload
from distillir.index.options import NoOptions, Options
from distillir.index.protocol import (
    Block,
    Payload,
    ScoredId,
    SparseQuery,
    check_documents,
    check_k,
    check_query,
    index_errors,
)
from distillir.index.segment import Segment, write_segment
from distillir.index.snapshot import EMPTY_STATE, STATE, Snapshot, load_snapshot, save_snapshot, sweep
from distillir.vectors import CSR, SparseVectors, csr_concat
from distillir.vectors.csr import take_rows
from distillir.vectors.files import FolderLock, disk_errors, read_json, write_json

_INTACT = "the documents acknowledged so far are intact"


class ExactIndex(Closing):
    """The index in a folder; use `create_index` and `open_index`, or `ExactIndex.over` a store of vectors.

    Args:
        folder: where `create` was called; None with `over`.
        dim: number of dimensions.
        encoder: which encoder the documents come from.
    """

    def __init__(self, folder: Path | None, dim: int, encoder: str = "") -> None:
        self.dim = dim
        self.encoder = encoder
        self._folder = folder
        self._lock: FolderLock | None = None
        self._thread = threading.RLock()
        self._closed = False
        self._stamp: tuple[int, int] | None = None
        self._snapshot = Snapshot(0, (), ())
        self._follow()

    @classmethod
    def over(cls, vectors: SparseVectors) -> ExactIndex:
        """Search a store of vectors where it lies. Such an index has no payloads and cannot change."""
        index = cls(None, vectors.dim, str(vectors.meta.get("encoder", "")))
        with index_errors():
            index._snapshot = Snapshot(0, (Segment(vectors),), (np.ones(len(vectors), bool),))
        return index

    @staticmethod
    def create(folder: Path, options: Options = NoOptions()) -> None:  # noqa: B008  has no state
        """Write the state of an index without documents."""
        write_json(folder / STATE, EMPTY_STATE)

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None = None) -> None:
        """Add or replace documents, durably; see `Index.add`."""
        checked = check_documents(ids, vectors, payloads, self.dim)
        texts = [dump_payload(p).encode() for p in payloads] if payloads is not None else [b"{}"] * len(ids)
        if not len(ids):
            return
        with self._thread, index_errors():
            new = self._begin().without(ids)
            counts = new.counts()
            keep, total = len(counts), len(ids)
            while keep and counts[keep - 1] <= 2 * total:  # merging equals keeps their number logarithmic
                keep -= 1
                total += counts[keep]
            self._write(new, keep, itertools.chain(new.blocks(keep), [Block(ids, checked, texts)]))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents, durably; see `Index.delete`."""
        with self._thread, index_errors():
            now = self._begin()
            new = now.without(ids)
            if len(new) < len(now):
                self._commit(new)

    def optimize(self) -> None:
        """Rewrite everything as one segment without deleted documents."""
        with self._thread, index_errors():
            now = self._begin()
            if len(now.segments) > 1 or any(not mask.all() for mask in now.alive):
                self._write(now.without([]), 0, now.blocks(0))

    def search(self, query: SparseQuery, k: int, where: Payload | None = None) -> list[ScoredId]:
        """The k best documents; see `Index.search`."""
        return self.search_batch([query], k, where)[0]

    def search_batch(
        self, queries: Sequence[SparseQuery], k: int, where: Payload | None = None
    ) -> list[list[ScoredId]]:
        """`search` for many queries at once, by one sparse product a segment."""
        check_k(k)
        checked = [check_query(query, self.dim) for query in queries]
        results: list[list[ScoredId]] = [[] for _ in checked]
        asked = [i for i, query in enumerate(checked) if len(query.indices)]
        with index_errors():
            found = self._follow().search([checked[i] for i in asked], k, where)
            for i, hits in zip(asked, found, strict=True):
                results[i] = hits
        return results

    def vectors(self, ids: Sequence[str]) -> CSR:
        """(len(ids), dim) vectors in the order of the ids; see `Index.vectors`."""
        with index_errors():
            now = self._follow()
            part, row = now.locate(ids)
            rows = [segment.store.gather(row[part == number]) for number, segment in enumerate(now.segments)]
        back = np.empty(len(ids), np.int64)
        back[np.argsort(part, kind="stable")] = np.arange(len(ids))
        return take_rows(*csr_concat(rows), back)

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Payloads in the order of the ids; see `Index.payloads`."""
        with index_errors():
            now = self._follow()
            part, row = now.locate(ids)
        places = zip(part.tolist(), row.tolist(), strict=True)
        return [json.loads(now.segments[number].payload(place)) for number, place in places]

    def documents(self) -> Iterator[Block]:
        """All documents, in the order they came in."""
        with index_errors():
            yield from self._follow().blocks(0)

    def __len__(self) -> int:
        return len(self._follow())

    def close(self) -> None:
        """Let the files and the writer's lock go."""
        self._closed = True
        self._snapshot = Snapshot(0, (), ())
        self._release()

    def _follow(self) -> Snapshot:
        """The current snapshot, after a look at whether another process has changed it."""
        if self._closed:
            raise SearchIndexError("this index is closed", "open it again")
        if self._folder is None or self._lock is not None:
            return self._snapshot
        path = self._folder / STATE
        with self._thread, index_errors(), disk_errors(self._folder, "or build the index again"):
            while True:
                status = path.stat()
                stamp = (status.st_ino, status.st_mtime_ns)
                if stamp == self._stamp:
                    return self._snapshot
                state = read_json(path)
                try:
                    self._snapshot = load_snapshot(self._folder, state, self._snapshot.segments)
                    self._stamp = stamp
                except (VectorsError, SearchIndexError):
                    if read_json(path) == state:  # otherwise a writer merged a segment away between the two reads
                        raise

    def _begin(self) -> Snapshot:
        """Become the writer, unless this process is it already, and sweep what a killed one left."""
        if self._folder is None:
            raise SearchIndexError("an index over a store cannot change", "use create_index and add the documents")
        now = self._follow()
        if self._lock is None:
            lock = FolderLock(self._folder / ".lock")
            try:
                now = self._follow()
                sweep(self._folder, now)
            except BaseException:
                lock.release()
                raise
            self._lock = lock
        return now

    def _write(self, new: Snapshot, keep: int, blocks: Iterator[Block]) -> None:
        """The first `keep` segments of `new` stay; `blocks` become the segment after them."""
        assert self._folder is not None
        try:
            segment = write_segment(self._folder / f"segment-{new.generation:06d}", self.dim, blocks)
        except BaseException:
            self._release()  # the next change starts from what is on disk, and sweeps
            raise
        masks = (*new.alive[:keep], np.ones(len(segment), bool))
        self._commit(Snapshot(new.generation, (*new.segments[:keep], segment), masks))

    def _commit(self, new: Snapshot) -> None:
        assert self._folder is not None
        try:
            with disk_errors(self._folder, _INTACT):
                save_snapshot(self._folder, new)
        except BaseException:
            self._release()
            raise
        self._snapshot = new
        sweep(self._folder, new)

    def _release(self) -> None:
        self._stamp = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
