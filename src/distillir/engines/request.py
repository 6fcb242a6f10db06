"""What the two engines' search requests and index bodies share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillir.errors import ConfigError, SearchIndexError

Json = dict[str, Any]
FIELD = "vector"
MAX_CLAUSES = 1024
"""Clauses of one query that a cluster takes by default (`indices.query.bool.max_clause_count`)."""

FIELD_TYPES = ("keyword", "long", "double", "boolean", "date", "text")
_OWN: dict[str, Json] = {"id": {"type": "keyword"}, "title": {"type": "text"}, "text": {"type": "text"}}
_LONGEST_KEYWORD = 8191  # characters of at most 4 bytes each: Lucene refuses a document with a term over 32766 bytes


@dataclass(frozen=True)
class Form:
    """One way to store and ask for sparse vectors.

    Attributes:
        name: as the command line has it.
        field_type: type of the vector's field.
        versions: which versions of the engine take it.
        exact: whether the ranking is the dot product's, but for the cut to 9 bits.
        by_dimension: whether features must be called by dimension number, see `dimension_names`.
        two_phases: whether a search can be split, see `TwoPhase`.
    """

    name: str
    field_type: str
    versions: str
    exact: bool = True
    by_dimension: bool = False
    two_phases: bool = True


@dataclass(frozen=True)
class Engine:
    """One engine: `query` writes a search request, `mapping` the body that creates an index for it."""

    name: str
    forms: Mapping[str, Form]
    query: Callable[..., Json]
    mapping: Callable[..., Json]

    def form_named(self, name: str | None) -> Form:
        """A form, the first one for None."""
        return chosen(self.forms, name)


def chosen(forms: Mapping[str, Form], name: str | None) -> Form:
    """A form by name, the first one for None."""
    if name is None:
        return next(iter(forms.values()))
    if name not in forms:
        raise ConfigError(f"no form of query is called {name!r}", f"choose one of {', '.join(forms)}")
    return forms[name]


def rank_feature(named: Mapping[str, float], field: str) -> list[Json]:
    """One `rank_feature` clause a feature, whose `linear` function scores boost × stored weight."""
    return [
        {"rank_feature": {"field": f"{check_field(field)}.{name}", "linear": {}, "boost": weight}}
        for name, weight in named.items()
    ]


def any_of(clauses: Sequence[Json], where: Sequence[Json]) -> Json:
    """Documents that match one of the clauses at least, scored by their sum, and pass the filters."""
    bool_query: Json = {"should": list(clauses), "minimum_should_match": 1}
    return {"bool": {**bool_query, "filter": list(where)} if where else bool_query}


def filtered(scoring: Json, where: Sequence[Json]) -> Json:
    """The scoring query among documents that pass the filters."""
    return {"bool": {"must": [scoring], "filter": list(where)}} if where else scoring


def filters(where: Mapping[str, Any] | None) -> list[Json]:
    """Fields that must be equal to a value, or to one of a list of values, as `Index.search` has them.

    Raises:
        SearchIndexError: a value that engines cannot look up.
    """
    found: list[Json] = []
    for name, wanted in (where or {}).items():
        field = check_field(name)
        values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        for value in values:
            if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
                raise SearchIndexError(
                    f"cannot filter {name!r} by {value!r}",
                    "use a string, a finite number or a truth value; engines do not index an absent one",
                )
        listed = isinstance(wanted, list | tuple)
        found.append({"terms": {field: values}} if listed else {"term": {field: {"value": wanted}}})
    return found


def request(query: Json, size: int, field: str, source: Sequence[str] | None, *, clauses: int, most: int) -> Json:
    """The body of a search: by default everything of a document is returned but its vector."""
    if size < 1:
        raise ConfigError(f"size is {size}", "ask for at least one document")
    if clauses > most:
        raise SearchIndexError(
            f"the query has {clauses:,} clauses, the engine takes {most:,}",
            "prune it (top=, --top), or raise indices.query.bool.max_clause_count and max_clauses=",
        )
    returned = {"excludes": [field]} if source is None else {"includes": list(source)}
    return {"size": size, "_source": returned, "track_total_hits": False, "query": query}


def index_body(vector: Json, field: str, fields: Mapping[str, str] | None, settings: Json | None = None) -> Json:
    """The body that creates an index: the vector's field, id, title, text, and payload fields by type."""
    check_field(field)
    if "." in field or field in _OWN:
        raise ConfigError(f"the vectors cannot be in the field {field!r}", "use a plain name of their own")
    properties = {**_OWN, field: vector}
    for name, kind in (fields or {}).items():
        if check_field(name) in properties or "." in name:
            raise ConfigError(f"a payload field cannot be called {name!r}", "rename it")
        if kind not in FIELD_TYPES:
            raise ConfigError(f"{name!r} has no type {kind!r}", f"choose one of {', '.join(FIELD_TYPES)}")
        properties[name] = {"type": kind, "ignore_above": _LONGEST_KEYWORD} if kind == "keyword" else {"type": kind}
    body: Json = {"mappings": {"dynamic": False, "properties": properties}}
    return {"settings": settings, **body} if settings else body


def check_field(name: str) -> str:
    """A field's name, once engines are known to take it."""
    if not isinstance(name, str) or not re.fullmatch(r"[^\s_.*][^\s*]*", name) or name.endswith(".") or ".." in name:
        raise ConfigError(f"{name!r} is not a field's name", "use letters, digits, _ and -, beginning with a letter")
    return name
