"""Requests in two phases: heavy terms search, light terms rescore the best documents; see `TwoPhase`.

OpenSearch splits a `neural_sparse` query itself, in a search processor. Every other form's request carries its
two parts: `rescore` adds the light terms' score to that of the window's documents, on each shard, which makes it the
score of the whole query. Documentation: "Rescore" in the query reference of OpenSearch and of Elasticsearch.
"""

from __future__ import annotations

from collections.abc import Mapping

from distillir.engines.request import Form, Json
from distillir.errors import ConfigError, SearchIndexError
from distillir.vectors.two_phase import TwoPhase, heavy


def split(named: Mapping[str, float], phases: TwoPhase | None) -> tuple[dict[str, float], dict[str, float]]:
    """The features of a query that search, and those that only rescore: none where there is one phase."""
    if phases is None:
        return dict(named), {}
    first = heavy(list(named.values()), phases.prune_ratio).tolist()
    parts: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for (name, weight), searched in zip(named.items(), first, strict=True):
        parts[not searched][name] = weight
    return parts


def rescored(body: Json, light: Json, phases: TwoPhase, size: int) -> Json:
    """A search request for the heavy terms that rescores by the query of the light ones.

    Raises:
        SearchIndexError: more documents are asked for than may be rescored.
    """
    check_size(size, phases)
    return {**body, "rescore": {"window_size": phases.window(size), "query": {"rescore_query": light}}}


def check_size(size: int, phases: TwoPhase) -> None:
    """Refuse what is larger than the window: the rest would be ranked by heavy terms alone."""
    if size > phases.max_window_size:
        raise SearchIndexError(
            f"{size:,} documents are asked for, two phases rescore {phases.max_window_size:,}",
            "ask for fewer, raise max_window_size and the index's max_rescore_window, or search in one phase",
        )


def check_form(form: Form, phases: TwoPhase | None) -> None:
    """Refuse two phases of a form that has them not.

    Raises:
        ConfigError: it is one.
    """
    if phases is not None and not form.two_phases:
        raise ConfigError(f"{form.name} is not searched in two phases", "choose an exact form, or leave two_phase out")
