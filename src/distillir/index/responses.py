"""Responses with dense vectors in Qdrant Edge: an HNSW graph, changed while it is searched, on disk.

    shard/          the engine's files
    responses.json  width of the vectors, and their encoder

Few responses are compared one by one, exactly; more are found through the graph (Malkov and Yashunin, arXiv 1603.09320)
once `optimize` has built it. One process opens an index at a time; within it any number of threads may search.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import qdrant_edge as qe
from numpy.typing import ArrayLike, NDArray

from distillir.closing import Closing
from distillir.errors import SearchIndexError, VectorsError
from distillir.index.edge import condition_of, engine_errors
from distillir.index.filters import dump_payload, payload_tokens
from distillir.index.points import point_of
from distillir.index.protocol import Payload, check_k, index_errors
from distillir.vectors.dense import checked_queries
from distillir.vectors.files import FolderLock, disk_errors, read_json, write_json

FILE = "responses.json"
EF = 128  # candidates that a search of the graph keeps; 4·k where that is more
GRAPH_FROM = 1000  # kilobytes of vectors: fewer are compared one by one
_VECTOR = "response"
_BATCH = 512


class FoundResponse(NamedTuple):
    """A response, its dot product with the query, and what else is kept of it."""

    id: str
    score: float
    text: str
    payload: dict[str, Any]


class ResponseIndex(Closing):
    """The index in a folder that `ResponseIndex.create` made.

    Args:
        folder: of the index.

    Raises:
        SearchIndexError: missing, damaged, or open elsewhere.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self._writer = threading.Lock()
        with index_errors():
            if not (folder / FILE).is_file():
                raise SearchIndexError(f"{folder}: no index of responses here", "check the path, or build it")
            record = read_json(folder / FILE)
            try:
                self.dim, self.encoder = int(record["dim"]), str(record["encoder"])
            except (KeyError, TypeError, ValueError) as error:
                raise SearchIndexError(f"{folder / FILE}: unreadable ({error})", "build the index again") from error
            with disk_errors(folder, "or build the index again"):
                self._lock = FolderLock(folder / ".lock")
        try:
            with engine_errors(f"cannot open {folder}"):
                self._shard = qe.EdgeShard.load(str(folder / "shard"))
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def create(cls, folder: str | Path, dim: int, *, encoder: str = "") -> ResponseIndex:
        """Make an index without responses and open it.

        Args:
            folder: new or empty.
            dim: width of the vectors. encoder: which encoder they come from.

        Raises:
            SearchIndexError: something lies there, or the disk refuses.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise SearchIndexError(f"{folder} is not empty", "name a new folder")
        if dim < 1:
            raise SearchIndexError(f"vectors of width {dim}", "give 1 or more")
        with index_errors(), disk_errors(folder, "nothing was built"):
            (folder / "shard").mkdir(parents=True)
            with engine_errors(f"cannot create {folder}"):
                config = qe.EdgeConfig(
                    vectors={_VECTOR: qe.EdgeVectorParams(dim, qe.Distance.Dot)},
                    hnsw_config=qe.HnswIndexConfig(m=16, ef_construct=128, full_scan_threshold=GRAPH_FROM),
                    optimizers=qe.EdgeOptimizersConfig(indexing_threshold=GRAPH_FROM),
                )
                shard = qe.EdgeShard.create(str(folder / "shard"), config)
                shard.update(qe.UpdateOperation.create_field_index("tokens", qe.PayloadSchemaType.Keyword))
                shard.flush()
                shard.close()
            write_json(folder / FILE, {"dim": dim, "encoder": encoder})
        return cls(folder)

    def add(
        self, ids: Sequence[str], texts: Sequence[str], vectors: ArrayLike, payloads: Sequence[Payload] | None = None
    ) -> None:
        """Add or replace responses; they are found at once, and survive a crash once this returns.

        Args:
            ids: each once. texts: what is said.
            vectors: (R, D), finite.
            payloads: what to filter by.

        Raises:
            SearchIndexError: counts, widths or values that do not fit.
        """
        rows = self._checked(vectors) if len(ids) else np.empty((0, self.dim), np.float32)
        if len({len(ids), len(texts), len(rows), len(ids if payloads is None else payloads)}) > 1:
            raise SearchIndexError(
                f"{len(ids)} ids, {len(texts)} texts and {len(rows)} vectors", "give one of each a response"
            )
        if len(set(ids)) != len(ids):
            raise SearchIndexError("an id is twice in one call", "give each response its own id")
        points = []
        for i, (name, text) in enumerate(zip(ids, texts, strict=True)):
            own = payloads[i] if payloads is not None else {}
            held = {"id": name, "text": text, "payload": dump_payload(own), "tokens": payload_tokens(own)}
            points.append(qe.Point(point_of(name), {_VECTOR: rows[i].tolist()}, held))
        batches = [points[start : start + _BATCH] for start in range(0, len(points), _BATCH)]
        self._change([qe.UpdateOperation.upsert_points(batch) for batch in batches])

    def withdraw(self, ids: Sequence[str]) -> None:
        """Remove responses, durably; none of them is found once this returns. An unknown id is no error."""
        if len(ids):
            self._change([qe.UpdateOperation.delete_points([point_of(name) for name in ids])])

    def search(
        self, query: ArrayLike, k: int, where: Payload | None = None, *, exact: bool = False
    ) -> list[FoundResponse]:
        """The k best responses for a query (D,); see `search_batch`."""
        return self.search_batch([np.asarray(query, np.float32)], k, where, exact=exact)[0]

    def search_batch(
        self, queries: ArrayLike, k: int, where: Payload | None = None, *, exact: bool = False
    ) -> list[list[FoundResponse]]:
        """The k best responses for each query (Q, D), best first, equal scores by id.

        Args:
            queries: (Q, D). k: how many at most.
            where: fields that the payload must have, as in `Index.search`.
            exact: compare with all, as a reference for the graph.

        Raises:
            SearchIndexError: a query of another width or not finite, k < 1, or a closed index.
        """
        check_k(k)
        if not len(np.asarray(queries)):
            return []
        condition = condition_of(where) if where else None
        how = qe.SearchParams(exact=exact, hnsw_ef=max(EF, 4 * k))
        requests = [
            qe.QueryRequest(
                limit=k,
                query=qe.Query.Nearest(query.tolist(), using=_VECTOR),
                with_payload=["id", "text", "payload"],
                filter=condition,
                params=how,
            )
            for query in self._checked(queries)
        ]
        with engine_errors("cannot search"):
            answers = self._open().query_batch(qe.QueryBatchRequest(requests))
        return [sorted(map(_found, points), key=lambda one: (-one.score, one.id)) for points in answers]

    def optimize(self) -> None:
        """Build the graph over what was added, and give back the space of what was withdrawn."""
        with self._writer, engine_errors("cannot optimize the index"):
            self._open().optimize()
            self._open().flush()

    def __len__(self) -> int:
        with engine_errors("cannot count the responses"):
            return int(self._open().count(qe.CountRequest(exact=True)))

    def close(self) -> None:
        """Flush and let the files go; closing twice is harmless."""
        with self._writer:
            if self._lock.released:
                return
            try:
                with engine_errors("cannot close the index"):
                    self._shard.flush()
                    self._shard.close()
            finally:
                self._lock.release()

    def _checked(self, vectors: ArrayLike) -> NDArray[np.float32]:
        try:
            checked: NDArray[np.float32] = checked_queries(vectors, self.dim)
        except VectorsError as error:
            raise SearchIndexError(error.cause, error.cure) from error
        return checked

    def _open(self) -> Any:
        if self._lock.released:
            raise SearchIndexError("this index is closed", "open it again")
        return self._shard

    def _change(self, operations: Sequence[Any]) -> None:
        with self._writer, engine_errors("cannot change the index"):
            shard = self._open()
            for operation in operations:
                shard.update(operation)
            shard.flush()


def _found(point: Any) -> FoundResponse:
    held = point.payload
    return FoundResponse(held["id"], point.score, held["text"], json.loads(held["payload"]))
