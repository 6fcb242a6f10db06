"""Qdrant, a server or a cluster, over HTTP: exact for sparse vectors, filtered, changeable while it is searched.

Every document becomes a point whose id is the UUID5 of the document's id, and whose payload holds the id, the
document's own payload as JSON text, and its filter tokens. With `two_phase`, a query's heavy terms prefetch, on each
shard, what the whole query then scores ("Hybrid and multi-stage queries" in its documentation).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from distillir.index.options import QdrantOptions, RemoteOptions
from distillir.index.points import point_of
from distillir.index.protocol import ScoredId, SparseQuery
from distillir.index.remote import RemoteIndex
from distillir.index.server import Kept, Row, TroubleError
from distillir.vectors.two_phase import heavy

_VECTOR = "weights"
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_LOCAL = {"localhost", "127.0.0.1", "::1"}

logger = logging.getLogger(__name__)


class QdrantServer:
    """Requests to Qdrant; see `Server`. For many threads at once.

    Args:
        options: where it is.
        client: in place of one of its own.
    """

    most = 2**31 - 1

    def __init__(self, options: RemoteOptions, client: QdrantClient | None = None) -> None:
        self._options, self._url = options, options.address()
        key = options.key()
        if key and self._url.startswith("http:") and urlsplit(self._url).hostname not in _LOCAL:
            logger.warning("the key for %s travels unencrypted: use https", self._url)
        self._client = client or QdrantClient(
            url=self._url,
            headers={"api-key": key} if key else None,
            timeout=int(options.timeout),
            check_compatibility=False,  # a request of its own, at a moment when nobody could tell its failure
        )

    def target(self, alias: str) -> str | None:
        """See `Server.target`."""
        with self._troubles():
            found = self._client.get_aliases().aliases
        return next((known.collection_name for known in found if known.alias_name == alias), None)

    def has(self, collection: str) -> bool:
        """See `Server.has`."""
        with self._troubles():
            return any(known.name == collection for known in self._client.get_collections().collections)

    def make(self, collection: str, dim: int) -> None:
        """See `Server.make`."""
        if not self.has(collection):
            with self._troubles():
                self._client.create_collection(
                    collection,
                    vectors_config={},
                    sparse_vectors_config={_VECTOR: models.SparseVectorParams()},
                    shard_number=self._options.shards,
                    replication_factor=self._options.replicas,
                )
        with self._troubles():
            self._client.create_payload_index(collection, "tokens", models.PayloadSchemaType.KEYWORD, wait=True)

    def drop(self, collection: str) -> None:
        """See `Server.drop`."""
        with self._troubles():
            self._client.delete_collection(collection)

    def switch(self, alias: str, collection: str, previous: str | None) -> None:
        """See `Server.switch`."""
        now = self.target(alias)
        if now == collection:
            return
        create = models.CreateAlias(collection_name=collection, alias_name=alias)
        changes: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if now is not None:
            changes.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        with self._troubles():
            self._client.update_collection_aliases(changes)

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """See `Server.upsert`."""
        points = []
        for row in rows:
            # A document without terms has no vector: nothing finds it, and it is still there.
            weights = models.SparseVector(indices=row.indices, values=row.values)
            vector: dict[str, Any] = {_VECTOR: weights} if row.indices else {}
            held = {"id": row.id, "payload": row.payload, "tokens": row.tokens}
            points.append(models.PointStruct(id=str(point_of(row.id)), vector=vector, payload=held))
        with self._troubles():
            self._client.upsert(collection, points, wait=True)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """See `Server.delete`."""
        with self._troubles():
            points: list[Any] = [str(point_of(name)) for name in ids]
            self._client.delete(collection, models.PointIdsList(points=points), wait=True)

    def search(
        self, collection: str, queries: Sequence[SparseQuery], limit: int, where: Mapping[str, list[str]]
    ) -> list[list[ScoredId]]:
        """See `Server.search`."""
        matches: list[Any] = [
            models.FieldCondition(key="tokens", match=models.MatchAny(any=tokens)) for tokens in where.values()
        ]
        keep = models.Filter(must=matches) if matches else None
        requests = [
            models.QueryRequest(
                prefetch=self._first_phase(query, limit, keep),
                query=_sparse(query),
                using=_VECTOR,
                filter=keep,
                limit=limit,
                with_payload=["id"],
            )
            for query in queries
        ]
        with self._troubles():
            answers = self._client.query_batch_points(collection, requests)
            return [[ScoredId(_held(point)["id"], point.score) for point in answer.points] for answer in answers]

    def read(self, collection: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Kept]:
        """See `Server.read`."""
        wanted: list[Any] = [str(point_of(name)) for name in ids]
        with self._troubles():
            found = self._client.retrieve(
                collection,
                wanted,
                with_payload=["id"] if vectors else ["id", "payload"],
                with_vectors=[_VECTOR] if vectors else False,
            )
        kept = {}
        for record in found:
            held = _held(record)
            weights: Any = record.vector.get(_VECTOR) if isinstance(record.vector, dict) else None
            indices, values = ([], []) if weights is None else (weights.indices, weights.values)
            kept[str(held["id"])] = Kept(indices, values, str(held.get("payload", "")))
        return kept

    def count(self, collection: str) -> int:
        """See `Server.count`."""
        with self._troubles():
            return self._client.count(collection, exact=True).count

    def optimize(self, collection: str) -> None:
        """Qdrant does so by itself."""

    def close(self) -> None:
        """See `Server.close`."""
        self._client.close()

    def _first_phase(self, query: SparseQuery, limit: int, keep: models.Filter | None) -> models.Prefetch | None:
        """The search for heavy terms; None where all are heavy, or nobody asked for two phases."""
        phases = self._options.two_phase if isinstance(self._options, QdrantOptions) else None
        if phases is None:
            return None
        first = heavy(query.values, phases.prune_ratio)
        if first.all():
            return None
        asked = SparseQuery(query.indices[first], query.values[first])
        return models.Prefetch(query=_sparse(asked), using=_VECTOR, filter=keep, limit=phases.window(limit))

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except ResponseHandlingException as error:
            raise self._unreachable(error.source) from error
        except ResourceExhaustedResponse as error:
            raise TroubleError(
                f"{self._url} has too much to do",
                "ask less at once, or give the cluster more",
                again=True,
                wait=error.retry_after_s,
            ) from error
        except UnexpectedResponse as error:
            raise self._refused(error) from error

    def _unreachable(self, source: Exception) -> TroubleError:
        if isinstance(source, httpx.TimeoutException):
            cause = f"{self._url} did not answer within {int(self._options.timeout)} s"
            return TroubleError(cause, "raise the engine's `timeout`, or give the cluster more", again=True)
        if isinstance(source, httpx.TransportError):
            cause = f"Qdrant at {self._url} cannot be reached ({source or type(source).__name__})"
            return TroubleError(cause, "start it, or correct the engine's `url`", again=True)
        return TroubleError(f"{self._url} does not answer as Qdrant does", "correct the engine's `url`")

    def _refused(self, error: UnexpectedResponse) -> TroubleError:
        status, reason = error.status_code or 0, _reason(error.content)
        if status in (401, 403):
            variable = self._options.key_env or self._options.KEY_ENV
            return TroubleError(
                f"Qdrant at {self._url} refuses the key ({status})", f"export {variable} with its API key"
            )
        cause = f"Qdrant at {self._url} answers {status}{reason}"
        gone = status == 404 and "doesn't exist" in reason
        return TroubleError(cause, "see its log", again=status in _PASSING, gone=gone)


class QdrantIndex(RemoteIndex):
    """An index in Qdrant; see `RemoteIndex`."""

    ENGINE = "qdrant"
    OPTIONS = QdrantOptions
    SERVER = QdrantServer


def _sparse(query: SparseQuery) -> models.SparseVector:
    return models.SparseVector(indices=query.indices.tolist(), values=query.values.tolist())


def _held(point: models.ScoredPoint | models.Record) -> dict[str, Any]:
    """The payload, which every point of ours has.

    Raises:
        TroubleError: it has none.
    """
    if not point.payload or "id" not in point.payload:
        raise TroubleError("the collection has points without our payload", "index the documents again")
    return point.payload


def _reason(content: bytes) -> str:
    """What Qdrant says was wrong, shortened."""
    with suppress(ValueError, KeyError, TypeError):
        return f": {str(json.loads(content)['status']['error'])[:200]}"
    return ""
