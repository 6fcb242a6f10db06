"""An index in OpenSearch or Elasticsearch, as the service searches it: documents are changed there, by whoever does so.

It was filled by `distillir export`. A search is one request for ids and scores and one for their texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from distillir.closing import Closing
from distillir.engines import TwoPhase, dimension_names, engine_named, feature_name, prune_terms
from distillir.engines.phases import check_form
from distillir.engines.request import FIELD, check_field
from distillir.errors import ConfigError, SearchIndexError, ServiceError
from distillir.index import ScoredId, SparseQuery
from distillir.index.protocol import check_k, check_query
from distillir.search import QueryEncoder
from distillir.serving.engine_client import EngineClient, Json
from distillir.vectors import CSR, csr_from_rows

ELSEWHERE = "documents are changed in the engine: `distillir export`, then its _bulk"


@dataclass(frozen=True)
class Cluster:
    """Where the documents are.

    Attributes:
        url: of the index or its alias, such as `http://127.0.0.1:9200/docs`.
        engine: "opensearch" or "elasticsearch".
        form, field: as `distillir export` was told.
        by_dimension: whether terms are named by number, as `distillir export --by-dimension` does.
        auth_env: environment variable with the `Authorization` header; unset: none is sent.
        top: terms of a query at most; engines take 1,024 clauses.
        timeout: seconds for a reply.
        two_phase: how a search is split; None = all of a query's terms search.
    """

    url: str
    engine: str = "opensearch"
    form: str | None = None
    field: str = FIELD
    by_dimension: bool = False
    auth_env: str = "DISTILLIR_ENGINE_AUTH"
    top: int = 1000
    timeout: float = 10.0
    two_phase: TwoPhase | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        name = parts.path.strip("/")
        if parts.scheme not in ("http", "https") or not parts.hostname or not name or "/" in name:
            raise ConfigError(f"{self.url!r} is no address of an index", "give it like http://127.0.0.1:9200/docs")
        if parts.username or parts.query:
            raise ConfigError(
                "the address of the index carries a user or a query",
                f'give the address alone, and export {self.auth_env}="Basic …"',
            )
        check_form(engine_named(self.engine).form_named(self.form), self.two_phase)
        check_field(self.field)


class ClusterIndex(Closing):
    """Searches an index elsewhere; see `Index`, of which adding and deleting are refused.

    Args:
        cluster: where. encoder: names the dimensions.

    Attributes:
        version: name and identity of the index behind the address. What others change in it since does not show.

    Raises:
        ServiceError: it does not answer, or there is no such index.
    """

    encoder = ""

    def __init__(self, cluster: Cluster, encoder: QueryEncoder) -> None:
        self.dim = encoder.dim
        self._cluster, self._terms = cluster, encoder.terms
        self._engine = engine_named(cluster.engine)
        self._form = self._engine.form_named(cluster.form)
        self._by_dimension = cluster.by_dimension or self._form.by_dimension
        self._dimensions: dict[str, int] = {}
        self._client = EngineClient(cluster.url, cluster.auth_env, cluster.timeout)
        try:
            behind = self._client.ask("GET", "/_settings")
            self.version = "+".join(f"{name}-{_identity(told)}" for name, told in sorted(behind.items()))
            self._count = int(self._client.ask("GET", "/_count")["count"])
        except BaseException:
            self.close()
            raise

    def search(self, query: SparseQuery, k: int, where: Mapping[str, Any] | None = None) -> list[ScoredId]:
        """The k best documents; see `Index.search`."""
        check_k(k)
        asked = check_query(query, self.dim)
        if not len(asked.indices):
            return []
        indices = asked.indices.tolist()
        names = dimension_names(indices) if self._by_dimension else self._terms(indices)
        weights = prune_terms(dict(zip(names, asked.values.tolist(), strict=True)), self._cluster.top)
        try:
            body = self._engine.query(
                weights,
                size=k,
                field=self._cluster.field,
                form=self._form.name,
                where=where,
                source=["id"],
                two_phase=self._cluster.two_phase,
            )
        except SearchIndexError as error:  # a filter that the engine cannot look up, more than it rescores
            raise ServiceError(422, error.cause, error.cure) from error
        found = self._client.ask("POST", "/_search", body)["hits"]["hits"]
        return sorted((ScoredId(hit["_id"], float(hit["_score"])) for hit in found), key=lambda hit: (-hit[1], hit[0]))

    def search_batch(
        self, queries: Sequence[SparseQuery], k: int, where: Mapping[str, Any] | None = None
    ) -> list[list[ScoredId]]:
        """`search` for each."""
        return [self.search(query, k, where) for query in queries]

    def vectors(self, ids: Sequence[str]) -> CSR:
        """Stored weights, of which engines keep 9 bits; a document whose vector is not returned has none."""
        rows = []
        for source in self._sources(ids, f"_source_includes={quote(self._cluster.field)}"):
            kept = [(self._dimension(name), weight) for name, weight in source.get(self._cluster.field, {}).items()]
            kept.sort()
            rows.append(([d for d, _ in kept], [w for _, w in kept]))
        return csr_from_rows(rows, self.dim)

    def payloads(self, ids: Sequence[str]) -> list[Json]:
        """All fields but vector and id."""
        found = self._sources(ids, f"_source_excludes={quote(self._cluster.field)}")
        return [{name: value for name, value in source.items() if name != "id"} for source in found]

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Mapping[str, Any]] | None = None) -> NoReturn:
        """Refused."""
        raise ServiceError(409, f"{len(ids)} documents cannot be added here", ELSEWHERE)

    def delete(self, ids: Sequence[str]) -> NoReturn:
        """Refused."""
        raise ServiceError(409, f"{len(ids)} documents cannot be deleted here", ELSEWHERE)

    def optimize(self) -> None:
        """The engine does so itself."""

    def __len__(self) -> int:
        """Documents when it was opened."""
        return self._count

    def close(self) -> None:
        """Let its connections go."""
        self._client.close()

    def _sources(self, ids: Sequence[str], fields: str) -> list[Json]:
        if not ids:
            return []
        rows = self._client.ask("POST", f"/_mget?{fields}", {"ids": list(ids)})["docs"]
        missing = [row["_id"] for row in rows if not row.get("found")]
        if missing:
            raise SearchIndexError(f"{missing[0]!r} is not in the index", "it was deleted just now: search again")
        return [row.get("_source", {}) for row in rows]

    def _dimension(self, name: str) -> int:
        if not self._dimensions:
            numbers = range(self.dim)
            if self._by_dimension:
                self._dimensions = {str(i): i for i in numbers}
            else:  # some vocabularies have gaps, which no document names
                self._dimensions = {feature_name(t): i for i, t in enumerate(self._terms(numbers)) if t}
        try:
            return self._dimensions[name]
        except KeyError:
            raise SearchIndexError(
                f"the index has the term {name!r}, the student's vocabulary has not", "export the run that is served"
            ) from None


def _identity(told: Any) -> str:
    with suppress(KeyError, TypeError):
        return str(told["settings"]["index"]["uuid"])[:8]
    raise ServiceError(503, "the engine does not say which index it is", "check the address of the index", wait=5)
