"""OpenSearch: search requests and index bodies for sparse vectors.

| form              | field           | versions                                              |
|-------------------|-----------------|-------------------------------------------------------|
| neural_sparse     | `rank_features` | 2.14 and later, with the neural-search plugin         |
| rank_feature      | `rank_features` | 1.1 and later, no plugin                              |
| neural_sparse_ann | `sparse_vector` | 3.3 and later, with the plugin; approximate (SEISMIC) |

`neural_sparse` and `rank_feature` read the same index and score a document by Σ query weight × stored weight.
Two phases of `neural_sparse` need 2.15; the processor looks for the query at the top and in a bool's `should`, nowhere
else. Documentation: "Neural sparse query", "Neural sparse query two-phase", "Using a search pipeline" and "Neural
sparse ANN search" at docs.opensearch.org; the scoring is Lucene's `FeatureField.newLinearQuery`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distillir.engines.features import features
from distillir.engines.phases import check_form, check_size, rescored, split
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
from distillir.vectors.two_phase import TwoPhase

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
            two_phases=False,
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
    two_phase: TwoPhase | None = None,
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
        two_phase: search by the heavy terms and rescore by the others; None = all terms search. Of exact forms only.

    Raises:
        SearchIndexError: no terms, weights the engine refuses, more clauses than it takes, or more documents than two
            phases rescore.
        ConfigError: no such form, not a field's name, size below 1, two phases where the form has none.
    """
    kind, keep = chosen(FORMS, form), filters(where)
    check_form(kind, two_phase)
    named = features(weights)
    heavy, light = split(named, two_phase)
    phases = two_phase if light else None
    count = len(named) + len(keep)
    if kind.name == "rank_feature":
        searched = any_of(rank_feature(heavy, field), keep)
        body = request(searched, size, field, source, clauses=count, most=max_clauses)
        return body if phases is None else rescored(body, any_of(rank_feature(light, field), []), phases, size)
    asked = _tokens(named)
    scoring: Json = {"neural_sparse": {check_field(field): asked}}
    if kind.by_dimension:
        _check_dimensions(named)
        # Filters in here are applied while searching; in a bool around it, to the size best documents only.
        asked["method_parameters"] = {"k": size, **({"filter": {"bool": {"filter": keep}}} if keep else {})}
    elif keep:  # the processor would pass by a query in `must`, and all of its terms would search
        scoring = filtered(scoring, keep) if phases is None else any_of([scoring], keep)
    body = request(scoring, size, field, source, clauses=count, most=max_clauses)
    return body if phases is None else {**body, "search_pipeline": pipeline(phases, size)}


def pipeline(two_phase: TwoPhase, size: int = 1) -> Json:
    """The pipeline that splits `neural_sparse` queries: a request has its own, `PUT /_search/pipeline/NAME` keeps one.

    Args:
        two_phase: how.
        size: documents that will be asked for. The engine refuses a search whose window would be larger than
            `max_window_size`, so the rate is lowered to what fits.

    Raises:
        SearchIndexError: more documents than two phases rescore.
    """
    check_size(size, two_phase)
    parameters = {
        "prune_ratio": two_phase.prune_ratio,
        "expansion_rate": min(two_phase.expansion_rate, two_phase.max_window_size / size),
        "max_window_size": two_phase.max_window_size,
    }
    processor = {"enabled": True, "two_phase_parameter": parameters}
    return {"request_processors": [{"neural_sparse_two_phase_processor": processor}]}


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
