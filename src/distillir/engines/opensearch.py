"""OpenSearch: search requests and index bodies for sparse vectors.

| form              | field           | versions                                              |
|-------------------|-----------------|-------------------------------------------------------|
| neural_sparse     | `rank_features` | 2.14 and later, with the neural-search plugin         |
| rank_feature      | `rank_features` | 1.1 and later, no plugin                              |
| neural_sparse_ann | `sparse_vector` | 3.3 and later, with the plugin; approximate (SEISMIC) |

`neural_sparse` and `rank_feature` read the same index and score a document by Σ query weight × stored weight.
Documentation: "Neural sparse query" and "Neural sparse ANN search" at docs.opensearch.org; the scoring is Lucene's
`FeatureField.newLinearQuery`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distillir.engines.features import features
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
from distillir.errors import SearchIndexError

_LINEAR_LIMIT = 64.0  # neural_sparse hands a term's weight to Lucene's linear query, which takes (0, 64]

FORMS = {
    form.name: form
    for form in (
        Form("neural_sparse", "rank_features", "OpenSearch 2.14 and later, with the neural-search plugin"),
        Form("rank_feature", "rank_features", "OpenSearch 1.1 and later"),
        Form(
            "neural_sparse_ann",
            "sparse_vector",
            "OpenSearch 3.3 and later, with the neural-search plugin",
            exact=False,
            by_dimension=True,
        ),
    )
}


def query(
    weights: Mapping[str, float],
    *,
    size: int = 10,
    field: str = FIELD,
    form: str | None = None,
    where: Mapping[str, Any] | None = None,
    source: Sequence[str] | None = None,
    max_clauses: int = MAX_CLAUSES,
) -> Json:
    """The body of `POST /INDEX/_search` for a sparse query.

    Args:
        weights: term → weight; dimension number → weight for `neural_sparse_ann`.
        size: how many documents at most.
        field: where the documents' vectors are.
        form: a key of `FORMS`, by default `neural_sparse`.
        where: payload fields that must be equal; see `Index.search`.
        source: fields to return; by default all but the vector.
        max_clauses: what the cluster takes, `indices.query.bool.max_clause_count`.

    Raises:
        SearchIndexError: no terms, weights the engine refuses, more clauses than it takes.
        ConfigError: no such form, not a field's name, size below 1.
    """
    kind, keep = chosen(FORMS, form), filters(where)
    if kind.name == "rank_feature":
        clauses = rank_feature(weights, field)
        count = len(clauses) + len(keep)
        return request(any_of(clauses, keep), size, field, source, clauses=count, most=max_clauses)
    named = features(weights)
    asked = _tokens(named)
    if kind.by_dimension:
        _check_dimensions(named)
        # Filters in here are applied while searching; in a bool around it, to the size best documents only.
        asked["method_parameters"] = {"k": size, **({"filter": {"bool": {"filter": keep}}} if keep else {})}
        scoring: Json = {"neural_sparse": {check_field(field): asked}}
    else:
        scoring = filtered({"neural_sparse": {check_field(field): asked}}, keep)
    return request(scoring, size, field, source, clauses=len(named) + len(keep), most=max_clauses)


def mapping(
    *,
    field: str = FIELD,
    form: str | None = None,
    fields: Mapping[str, str] | None = None,
    approximate_threshold: int | None = None,
) -> Json:
    """The body of `PUT /INDEX`.

    Args:
        field: where the vectors go.
        form: how they will be asked for.
        fields: payload fields and their types, of `FIELD_TYPES`.
        approximate_threshold: documents of a segment from which on `neural_sparse_ann` approximates; the engine's
            own choice is a million.

    Raises:
        ConfigError: no such form or type, a name that cannot be.
    """
    kind = chosen(FORMS, form)
    if not kind.by_dimension:
        return index_body({"type": kind.field_type}, field, fields)
    parameters = {} if approximate_threshold is None else {"approximate_threshold": approximate_threshold}
    method: Json = {"name": "seismic", **({"parameters": parameters} if parameters else {})}
    return index_body({"type": kind.field_type, "method": method}, field, fields, {"index": {"sparse": True}})


def _tokens(named: Mapping[str, float]) -> Json:
    """Weights no larger than 64; what they were divided by, a power of two, comes back as the query's boost."""
    scale = 1.0
    while max(named.values()) / scale > _LINEAR_LIMIT:
        scale *= 2
    if scale == 1:
        return {"query_tokens": dict(named)}
    return {"query_tokens": {name: weight / scale for name, weight in named.items()}, "boost": scale}


def _check_dimensions(named: Mapping[str, float]) -> None:
    for name in named:
        if not (name.isascii() and name.isdigit()):
            raise SearchIndexError(
                f"{name!r} is not a dimension's number, which neural_sparse_ann asks for",
                "name terms by dimension_names, in documents and queries",
            )


ENGINE = Engine("opensearch", FORMS, query, mapping)
