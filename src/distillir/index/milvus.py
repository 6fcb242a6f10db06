"""Milvus, a server or a cluster, over gRPC: exact for sparse vectors, filtered, changeable while it is searched.

Every document becomes an entity: its id, its weights, its payload as JSON text, and the hashes of its filter tokens.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from distillir.errors import SearchIndexError
from distillir.index.options import MilvusOptions, RemoteOptions
from distillir.index.protocol import ScoredId, SparseQuery
from distillir.index.remote import RemoteIndex
from distillir.index.server import Kept, Row, TroubleError

_WEIGHTS = "weights"
_LONGEST_ID = 4096  # bytes
_LONGEST_PAYLOAD = 65_535  # bytes; what Milvus lets a text have
_MOST_TOKENS = 4096  # what it lets a list have
# Codes of the client, of Milvus (pkg/util/merr of its source) and of gRPC.
_AWAY = {2, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_BUSY = {4, 8, grpc.StatusCode.RESOURCE_EXHAUSTED}  # too many requests, rate limit
_NOT_LOADED = 101
_NOT_FOUND = {100, 1600}  # collection, alias
_REFUSED = {1400, 1401, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}

# A server that comes back is noticed at once: gRPC's own pauses grow to minutes and are shared by all connections.
_RECONNECT = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.use_local_subchannel_pool": 1,
}

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints what it raises, addresses and traces included


class MilvusServer:
    """Requests to Milvus; see `Server`. For many threads at once.

    Args:
        options: where it is.
    """

    most = 16_384

    def __init__(self, options: RemoteOptions) -> None:
        self._options, self._url = options, options.address()
        self._made: MilvusClient | None = None
        self._connecting = threading.Lock()

    def target(self, alias: str) -> str | None:
        """See `Server.target`."""
        try:
            with self._troubles():
                return str(self._client.describe_alias(alias, timeout=self._options.timeout)["collection_name"])
        except TroubleError as trouble:
            if trouble.gone:
                return None
            raise

    def has(self, collection: str) -> bool:
        """See `Server.has`."""
        with self._troubles():
            return collection in self._client.list_collections(timeout=self._options.timeout)

    def make(self, collection: str, dim: int) -> None:
        """See `Server.make`."""
        with self._troubles():
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_LONGEST_ID)
            schema.add_field(_WEIGHTS, DataType.SPARSE_FLOAT_VECTOR)
            schema.add_field("payload", DataType.VARCHAR, max_length=_LONGEST_PAYLOAD)
            schema.add_field(
                "tokens", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=_MOST_TOKENS, max_length=32
            )
            if not self.has(collection):
                extra = {"num_shards": self._options.shards} if self._options.shards else {}
                self._client.create_collection(
                    collection, schema=schema, consistency_level="Strong", timeout=self._options.timeout, **extra
                )
            params = MilvusClient.prepare_index_params()
            params.add_index(_WEIGHTS, index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
            self._client.create_index(collection, params, timeout=self._options.timeout)
            self._load(collection)

    def drop(self, collection: str) -> None:
        """See `Server.drop`."""
        if self.has(collection):
            with self._troubles():
                self._client.drop_collection(collection, timeout=self._options.timeout)

    def switch(self, alias: str, collection: str, previous: str | None) -> None:
        """See `Server.switch`."""
        now = self.target(alias)
        with self._troubles():
            if now is None:
                self._client.create_alias(collection, alias, timeout=self._options.timeout)
            elif now != collection:
                self._client.alter_alias(collection, alias, timeout=self._options.timeout)

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """See `Server.upsert`."""
        for row in rows:
            _check(row)
        entities = [
            {
                "id": row.id,
                _WEIGHTS: _weights(row),
                "payload": row.payload,
                "tokens": [_hashed(token) for token in row.tokens],
            }
            for row in rows
        ]
        with self._troubles():
            self._client.upsert(collection, entities, timeout=self._options.timeout)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """See `Server.delete`."""
        with self._troubles():
            self._client.delete(collection, ids=list(ids), timeout=self._options.timeout)

    def search(
        self, collection: str, queries: Sequence[SparseQuery], limit: int, where: Mapping[str, list[str]]
    ) -> list[list[ScoredId]]:
        """See `Server.search`."""
        if any(not tokens for tokens in where.values()):
            return [[] for _ in queries]
        with self._troubles():
            found = self._loaded(
                self._client.search,
                collection,
                data=[dict(zip(q.indices.tolist(), q.values.tolist(), strict=True)) for q in queries],
                anns_field=_WEIGHTS,
                filter=_filter(where),
                limit=limit,
                output_fields=["id"],
                search_params={"metric_type": "IP", "params": {"drop_ratio_search": 0.0}},
                consistency_level="Strong",
                timeout=self._options.timeout,
            )
        return [[ScoredId(str(hit["id"]), float(hit["distance"])) for hit in hits] for hits in found]

    def read(self, collection: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Kept]:
        """See `Server.read`."""
        with self._troubles():
            found = self._loaded(
                self._client.query,
                collection,
                ids=list(ids),
                output_fields=["id", _WEIGHTS if vectors else "payload"],
                consistency_level="Strong",
                timeout=self._options.timeout,
            )
        kept = {}
        for entity in found:
            weights = entity.get(_WEIGHTS, {})
            indices = sorted(dimension for dimension in weights if dimension != _NOWHERE)
            kept[str(entity["id"])] = Kept(indices, [weights[d] for d in indices], entity.get("payload", ""))
        return kept

    def count(self, collection: str) -> int:
        """See `Server.count`."""
        with self._troubles():
            found = self._loaded(
                self._client.query,
                collection,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self._options.timeout,
            )
            return int(found[0]["count(*)"])

    def optimize(self, collection: str) -> None:
        """See `Server.optimize`."""
        with self._troubles():
            self._client.flush(collection, timeout=self._options.timeout)
            self._client.compact(collection, timeout=self._options.timeout)

    def close(self) -> None:
        """See `Server.close`."""
        if self._made is not None:
            self._made.close()
            self._made = None

    @property
    def _client(self) -> MilvusClient:
        """Connected at the first request, so that a server that is away is met like any other failure."""
        with self._connecting:
            if self._made is None:
                self._made = MilvusClient(
                    self._url,
                    token=self._options.key(),
                    timeout=self._options.timeout,
                    dedicated=True,
                    grpc_options=_RECONNECT,
                )
            return self._made

    def _loaded(self, request: Callable[..., Any], collection: str, **options: Any) -> Any:
        """What a request returns; a collection that the server does not hold ready, as after its restart, is loaded."""
        try:
            return request(collection, **options)
        except MilvusException as error:
            if error.code != _NOT_LOADED:
                raise
        self._load(collection)
        return request(collection, **options)

    def _load(self, collection: str) -> None:
        more = {"replica_number": self._options.replicas} if self._options.replicas else {}
        self._client.load_collection(collection, timeout=self._options.timeout, **more)

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except MilvusException as error:
            raise self._trouble(error.code, str(error.message), retriable=error.retriable) from error
        except grpc.RpcError as error:
            status = error.code() if isinstance(error, grpc.Call) else None
            raise self._trouble(status, str(status)) from error

    def _trouble(self, code: Any, message: str, *, retriable: bool = False) -> TroubleError:
        reason = " ".join(message.split())[:200]
        if code in _REFUSED:
            variable = self._options.key_env or self._options.KEY_ENV
            return TroubleError(
                f"Milvus at {self._url} refuses the token", f"export {variable} with its token or user:password"
            )
        if code in _AWAY:
            late = f"did not answer within {self._options.timeout:g} s"
            cause = f"Milvus at {self._url} cannot be reached or {late} ({reason})"
            return TroubleError(cause, "start it, or correct the engine's `url` or `timeout`", again=True)
        cause = f"Milvus at {self._url} answers {code}: {reason}"
        return TroubleError(cause, "see its log", again=retriable or code in _BUSY, gone=code in _NOT_FOUND)


class MilvusIndex(RemoteIndex):
    """An index in Milvus; see `RemoteIndex`."""

    ENGINE = "milvus"
    OPTIONS = MilvusOptions
    SERVER = MilvusServer


_NOWHERE = 2**31 - 1  # beyond every vocabulary: Milvus refuses vectors without entries, and no query asks for this one


def _weights(row: Row) -> dict[int, float]:
    return dict(zip(row.indices, row.values, strict=True)) or {_NOWHERE: 1.0}


def _hashed(token: str) -> str:
    """A token as hexadecimal digits, which need no quoting in a filter."""
    return hashlib.blake2b(token.encode(), digest_size=16).hexdigest()


def _filter(where: Mapping[str, list[str]]) -> str:
    conditions = []
    for tokens in where.values():
        hashes = ", ".join(f'"{_hashed(token)}"' for token in tokens)
        conditions.append(f"array_contains_any(tokens, [{hashes}])")
    return " and ".join(conditions)


def _check(row: Row) -> None:
    """Refuse what Milvus would cut or refuse without a name."""
    for what, size, most in (
        ("an id", len(row.id.encode()), _LONGEST_ID),
        ("a payload", len(row.payload.encode()), _LONGEST_PAYLOAD),
    ):
        if size > most:
            raise SearchIndexError(
                f"the document {row.id[:80]!r} has {what} of {size:,} bytes, Milvus keeps {most:,}",
                "shorten it, or choose another engine",
            )
    if len(row.tokens) > _MOST_TOKENS:
        raise SearchIndexError(
            f"the document {row.id[:80]!r} has {len(row.tokens):,} values to filter by, Milvus keeps {_MOST_TOKENS:,}",
            "keep fewer in its payload, or choose another engine",
        )
