"""Elasticsearch: search requests and index bodies for sparse vectors.

| form          | field           | versions       |
|---------------|-----------------|----------------|
| sparse_vector | `sparse_vector` | 8.15 and later |
| rank_feature  | `rank_features` | 7.12 and later |

Both score a document by Σ query weight × stored weight. Indices made by 8.19, 9.1 and later drop query terms by a
rule of their own unless told otherwise, so `prune` is always written. `text_expansion` wants a model inside the
cluster, and `weighted_tokens` is deprecated since 8.15; neither is written here.
Documentation: "Sparse vector query" and "Rank feature query" in the reference of Elasticsearch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillir.engines.features import features
from distillir.engines.phases import rescored, split
from distillir.engines.request import (
    FIELD,
    MAX_CLAUSES,
    Engine,
    Form,
    Json,
    any_of,
    check_field,
    chosen,
    filtered,
    filters,
    index_body,
    rank_feature,
    request,
)
from distillir.errors import ConfigError
from distillir.vectors.two_phase import TwoPhase

FORMS = {
    form.name: form
    for form in (
        Form("sparse_vector", "sparse_vector", "Elasticsearch 8.15 and later"),
        Form("rank_feature", "rank_features", "Elasticsearch 7.12 and later"),
    )
}


@dataclass(frozen=True)
class TokenPruning:
    """The engine's own pruning of a query: a term goes when it is frequent *and* light.

    Attributes:
        tokens_freq_ratio_threshold: frequent is this many times the average document frequency; 1 to 100.
        tokens_weight_threshold: light is below this share of the query's largest weight; 0 to 1.
    """

    tokens_freq_ratio_threshold: float = 5.0
    tokens_weight_threshold: float = 0.4

    def __post_init__(self) -> None:
        if not 1 <= self.tokens_freq_ratio_threshold <= 100:
            raise ConfigError(f"tokens_freq_ratio_threshold is {self.tokens_freq_ratio_threshold}", "use 1 to 100")
        if not 0 <= self.tokens_weight_threshold <= 1:
            raise ConfigError(f"tokens_weight_threshold is {self.tokens_weight_threshold}", "use 0 to 1")


def query(
    weights: Mapping[str, float],
    *,
    size: int = 10,
    field: str = FIELD,
    form: str | None = None,
    where: Mapping[str, Any] | None = None,
    source: Sequence[str] | None = None,
    max_clauses: int = MAX_CLAUSES,
    pruning: TokenPruning | None = None,
    two_phase: TwoPhase | None = None,
) -> Json:
    """The body of `POST /INDEX/_search` for a sparse query.

    Args:
        weights: term → weight.
        size: how many documents at most.
        field: where the documents' vectors are.
        form: a key of `FORMS`, by default `sparse_vector`.
        where: payload fields that must be equal; see `Index.search`.
        source: fields to return; by default all but the vector.
        max_clauses: what the cluster takes, `indices.query.bool.max_clause_count`; from 8.1 on the engine derives it
            from its memory, and it is 1,024 at least.
        pruning: let the engine drop terms; None keeps all of them. Of `sparse_vector` only.
        two_phase: search by the heavy terms and rescore by the others; None = all terms search.

    Raises:
        SearchIndexError: no terms, weights the engine refuses, more clauses than it takes, or more documents than two
            phases rescore.
        ConfigError: no such form, not a field's name, size below 1, pruning where the form has none, or besides two
            phases.
    """
    kind, keep = chosen(FORMS, form), filters(where)
    if pruning is not None and kind.name == "rank_feature":
        raise ConfigError("rank_feature queries have no pruning", "prune the weights, or use form='sparse_vector'")
    if pruning is not None and two_phase is not None:
        raise ConfigError("the engine would drop terms that two phases score", "choose pruning or two_phase")
    named = features(weights)
    heavy, light = split(named, two_phase)
    phases = two_phase if light else None
    if kind.name == "rank_feature":
        searched, rest = any_of(rank_feature(heavy, field), keep), any_of(rank_feature(light, field), [])
    else:
        searched, rest = filtered(_sparse_vector(heavy, field, pruning), keep), _sparse_vector(light, field, None)
    body = request(searched, size, field, source, clauses=len(named) + len(keep), most=max_clauses)
    return body if phases is None else rescored(body, rest, phases, size)


def _sparse_vector(named: Mapping[str, float], field: str, pruning: TokenPruning | None) -> Json:
    asked: Json = {"field": check_field(field), "query_vector": dict(named), "prune": pruning is not None}
    if pruning is not None:
        asked["pruning_config"] = {
            "tokens_freq_ratio_threshold": pruning.tokens_freq_ratio_threshold,
            "tokens_weight_threshold": pruning.tokens_weight_threshold,
        }
    return {"sparse_vector": asked}


def mapping(*, field: str = FIELD, form: str | None = None, fields: Mapping[str, str] | None = None) -> Json:
    """The body of `PUT /INDEX`.

    Args:
        field: where the vectors go.
        form: how they will be asked for.
        fields: payload fields and their types, of `FIELD_TYPES`.

    Raises:
        ConfigError: no such form or type, a name that cannot be.
    """
    return index_body({"type": chosen(FORMS, form).field_type}, field, fields)


ENGINE = Engine("elasticsearch", FORMS, query, mapping)
