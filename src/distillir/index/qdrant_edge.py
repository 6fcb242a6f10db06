"""The embedded engine Qdrant Edge: on disk, filtered, exact for sparse vectors, changeable while it is searched.

One process opens an index at a time; within it any number of threads may search. Every document becomes a point
whose id is the UUID5 of the document's id, and whose payload holds the id, the document's own payload, and its
filter tokens.

    shard/       the engine's files
    count.json   number of documents at the last orderly close, which the engine itself does not check
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from distillir.closing import Closing
from distillir.errors import SearchIndexError
from distillir.index.edge import condition_of, engine_errors
from distillir.index.filters import dump_payload, payload_tokens
from distillir.index.options import NoOptions, Options
from distillir.index.points import point_of
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
from distillir.vectors import CSR, csr_from_rows
from distillir.vectors.files import FolderLock, disk_errors, read_json, sync_folder, write_json

_VECTOR = "weights"
_BATCH = 512  # points an operation: one operation is one record of the engine's log
_GROUP = 256  # queries a batch request


class QdrantEdgeIndex(Closing):
    """The index in a folder; use `create_index` and `open_index`.

    Args:
        folder: where `create` was called.
        dim: number of dimensions.
        encoder: which encoder the documents come from.
    """

    def __init__(self, folder: Path, dim: int, encoder: str = "") -> None:
        self.dim = dim
        self.encoder = encoder
        self._count_file = folder / "count.json"
        self._writer = threading.Lock()
        with index_errors(), disk_errors(folder, "or build the index again"):
            self._lock = FolderLock(folder / ".lock")
        try:
            with engine_errors(f"cannot open {folder}"):
                self._shard = qe.EdgeShard.load(str(folder / "shard"))
            self._check_count(folder)
        except BaseException:
            self._lock.release()
            raise

    @staticmethod
    def create(folder: Path, options: Options = NoOptions()) -> None:  # noqa: B008  has no state
        """Write a shard without documents."""
        (folder / "shard").mkdir()
        with engine_errors(f"cannot create {folder}"):
            config = qe.EdgeConfig(sparse_vectors={_VECTOR: qe.EdgeSparseVectorParams()})
            shard = qe.EdgeShard.create(str(folder / "shard"), config)
            shard.update(qe.UpdateOperation.create_field_index("tokens", qe.PayloadSchemaType.Keyword))
            shard.flush()
            shard.close()
        write_json(folder / "count.json", {"documents": 0})

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None = None) -> None:
        """Add or replace documents, durably; see `Index.add`."""
        checked = check_documents(ids, vectors, payloads, self.dim)
        points = []
        for i, name in enumerate(ids):
            own = payloads[i] if payloads is not None else {}
            indices, values = checked.row(i)
            held = {"id": name, "payload": dump_payload(own), "tokens": payload_tokens(own)}
            weights = qe.SparseVector(indices.tolist(), values.tolist())
            points.append(qe.Point(point_of(name), {_VECTOR: weights}, held))
        batches = [points[start : start + _BATCH] for start in range(0, len(points), _BATCH)]
        self._change([qe.UpdateOperation.upsert_points(batch) for batch in batches])

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents, durably; see `Index.delete`."""
        if len(ids):
            self._change([qe.UpdateOperation.delete_points([point_of(name) for name in ids])])

    def search(self, query: SparseQuery, k: int, where: Payload | None = None) -> list[ScoredId]:
        """The k best documents; see `Index.search`."""
        return self.search_batch([query], k, where)[0]

    def search_batch(
        self, queries: Sequence[SparseQuery], k: int, where: Payload | None = None
    ) -> list[list[ScoredId]]:
        """`search` for many queries at once."""
        check_k(k)
        checked = [check_query(query, self.dim) for query in queries]
        results: list[list[ScoredId]] = [[] for _ in checked]
        condition = condition_of(where) if where else None
        # The engine orders equal scores as it likes. One more than k shows whether the k-th shares its score with a
        # document that was left out; then more are asked for, until all of that score are there.
        pending, limit = [i for i, query in enumerate(checked) if len(query.indices)], k + 1
        while pending:
            tied = []
            for start in range(0, len(pending), _GROUP):
                group = pending[start : start + _GROUP]
                for i, hits in zip(group, self._query([checked[i] for i in group], limit, condition), strict=True):
                    if len(hits) == limit and hits[-1].score == hits[k - 1].score:
                        tied.append(i)
                    else:
                        results[i] = sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]
            pending, limit = tied, limit * 4
        return results

    def vectors(self, ids: Sequence[str]) -> CSR:
        """(len(ids), dim) vectors in the order of the ids; see `Index.vectors`."""
        return self._weights(self._retrieve(ids, with_payload=False, with_vector=True))

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Payloads in the order of the ids; see `Index.payloads`."""
        return [json.loads(record.payload["payload"]) for record in self._retrieve(ids, ["payload"], with_vector=False)]

    def optimize(self) -> None:
        """Run the engine's optimizers until they have nothing left to do."""
        with self._writer, engine_errors("cannot optimize the index"):
            self._open().optimize()
            self._open().flush()

    def documents(self) -> Iterator[Block]:
        """All documents, in the order of their points."""
        offset = None
        while True:
            with engine_errors("cannot read documents"):
                request = qe.ScrollRequest(
                    offset=offset, limit=_BATCH, with_payload=["id", "payload"], with_vector=True
                )
                records, offset = self._open().scroll(request)
            if records:
                ids = [str(record.payload["id"]) for record in records]
                yield Block(ids, self._weights(records), [record.payload["payload"].encode() for record in records])
            if offset is None:
                return

    def __len__(self) -> int:
        with engine_errors("cannot count the documents"):
            return int(self._open().count(qe.CountRequest(exact=True)))

    def close(self) -> None:
        """Flush, note the number of documents, let the shard go."""
        with self._writer:
            if self._lock.released:
                return
            try:
                with index_errors(), disk_errors(self._count_file.parent, "acknowledged documents are intact"):
                    with engine_errors("cannot close the index"):
                        self._shard.flush()
                    if not self._count_file.exists():
                        write_json(self._count_file, {"documents": len(self)})
            finally:
                with engine_errors("cannot close the index"):
                    self._shard.close()
                self._lock.release()

    def _open(self) -> Any:
        if self._lock.released:
            raise SearchIndexError("this index is closed", "open it again")
        return self._shard

    def _check_count(self, folder: Path) -> None:
        if self._count_file.exists():
            with index_errors():
                noted = read_json(self._count_file).get("documents")
            if noted != len(self):
                raise SearchIndexError(
                    f"{folder} was closed with {noted} documents and opens with {len(self)}: files are damaged",
                    "restore the folder, or build the index again",
                )

    def _change(self, operations: Sequence[Any]) -> None:
        with self._writer:
            shard = self._open()
            if self._count_file.exists():  # no longer true from here on, also if this process is killed
                with index_errors(), disk_errors(self._count_file, "acknowledged documents are intact"):
                    self._count_file.unlink()
                    sync_folder(self._count_file.parent)
            with engine_errors("cannot change the index"):
                for operation in operations:
                    shard.update(operation)
                shard.flush()

    def _query(self, queries: Sequence[SparseQuery], limit: int, condition: Any) -> Iterator[list[ScoredId]]:
        requests = [
            qe.QueryRequest(
                limit=limit,
                query=qe.Query.Nearest(qe.SparseVector(q.indices.tolist(), q.values.tolist()), using=_VECTOR),
                with_payload=["id"],
                filter=condition,
            )
            for q in queries
        ]
        with engine_errors("cannot search"):
            answers = self._open().query_batch(qe.QueryBatchRequest(requests))
        for points in answers:
            yield [ScoredId(point.payload["id"], point.score) for point in points if point.score > 0]

    def _weights(self, records: Sequence[Any]) -> CSR:
        weights = [record.vector.get(_VECTOR) for record in records]
        return csr_from_rows([(w.indices, w.values) if w is not None else ([], []) for w in weights], self.dim)

    def _retrieve(self, ids: Sequence[str], with_payload: Any, *, with_vector: bool) -> list[Any]:
        with engine_errors("cannot read documents"):
            wanted = [point_of(name) for name in ids]
            found = self._open().retrieve(wanted, with_payload=with_payload, with_vector=with_vector)
        by_point = {record.id: record for record in found}
        for name, point in zip(ids, wanted, strict=True):
            if point not in by_point:
                raise SearchIndexError(f"no document has the id {name!r}", "add it first")
        return [by_point[point] for point in wanted]
