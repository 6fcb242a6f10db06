r"""Documents as newline-delimited JSON for an engine's `_bulk` endpoint.

    {"index": {"_id": "d1"}}
    {"id": "d1", "title": "…", "text": "…", "vector": {"river": 1.25, "##s": 0.5}}

Two lines a document, streamed a block of vectors at a time. "index" replaces a document that is there, so sending a
file twice is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distillir.engines.features import SMALLEST, Terms, feature_name
from distillir.engines.request import FIELD, check_field
from distillir.errors import SearchIndexError
from distillir.vectors import CSR, SparseVectors

if TYPE_CHECKING:
    from distillir.data import Corpus, Document

LONGEST_ID = 512  # bytes of an _id


class BulkRow(NamedTuple):
    """One document: its two lines, and how many terms its vector kept."""

    id: str
    lines: bytes
    terms: int


def bulk_rows(
    vectors: SparseVectors,
    terms: Terms,
    *,
    corpus: Corpus | None = None,
    field: str = FIELD,
    index: str | None = None,
    fields: Sequence[str] = (),
    prune: Callable[[CSR], CSR] | None = None,
) -> Iterator[BulkRow]:
    """The documents of a store, in its order.

    Args:
        vectors: the store.
        terms: names of its dimensions: `SparseStudent.terms`, or `dimension_names`.
        corpus: texts and payloads by id; without it documents are an id and a vector.
        field: where the vector goes.
        index: name of the index to write into every action; without it, post to `/INDEX/_bulk`.
        fields: metadata of the corpus (and "group") to send along.
        prune: shortens vectors, such as `prune_rows` with its options filled in.

    Raises:
        SearchIndexError: a weight or an id that engines refuse, two dimensions of one name, a payload they cannot
            index, text that is not Unicode.
        DataError: the corpus lacks a document.
    """
    check_field(field)
    names = _Names(vectors.dim, terms)
    for start, block in vectors.blocks():
        rows = _indexable(block if prune is None else prune(block), vectors, start)
        labels, weights = names.of(rows.indices), rows.values.astype("U").tolist()
        pieces = list(map("%s%s".__mod__, zip(labels, weights, strict=True)))
        cuts = rows.indptr.tolist()
        for i in range(rows.rows):
            name = vectors.ids[start + i]
            vector = "{" + ",".join(pieces[cuts[i] : cuts[i + 1]]) + "}"
            about = _about(name, None if corpus is None else corpus[name], fields)
            yield BulkRow(name, _lines(name, about, field, vector, index), cuts[i + 1] - cuts[i])


class _Names:
    """JSON keys of dimensions, asked for once each."""

    def __init__(self, dim: int, terms: Terms) -> None:
        self._terms = terms
        self._keys = np.full(dim, "", dtype=object)
        self._owner: dict[str, int] = {}

    def of(self, indices: np.ndarray[Any, Any]) -> list[str]:
        used = np.unique(indices)
        missing = [int(d) for d in used[self._keys[used] == ""]]
        if missing:
            for dimension, term in zip(missing, self._terms(missing), strict=True):
                self._keys[dimension] = self._key(dimension, term)
        keys: list[str] = self._keys[indices].tolist()
        return keys

    def _key(self, dimension: int, term: str | None) -> str:
        cure = "name features by dimension_names (--by-dimension), in documents and queries"
        if term is None:
            raise SearchIndexError(f"dimension {dimension} has no term in the vocabulary", cure)
        name = feature_name(term)
        if self._owner.setdefault(name, dimension) != dimension:
            raise SearchIndexError(f"dimensions {self._owner[name]} and {dimension} are both called {term!r}", cure)
        return json.dumps(name, ensure_ascii=False) + ":"


def _indexable(rows: CSR, vectors: SparseVectors, start: int) -> CSR:
    """The rows without weights that say nothing."""
    bad = ~np.isfinite(rows.values) | (rows.values < 0)
    if bad.any():
        entry = int(np.argmax(bad))
        row = int(np.searchsorted(rows.indptr, entry, side="right")) - 1
        raise SearchIndexError(
            f"document {vectors.ids[start + row]!r} has a weight of {rows.values[entry]:g}",
            "engines take finite weights above zero: encode the documents again",
        )
    keep = rows.values >= SMALLEST
    if keep.all():
        return rows
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep, dtype=np.int64)])
    return CSR(kept[rows.indptr], rows.indices[keep], rows.values[keep])


def _about(name: str, document: Document | None, fields: Sequence[str]) -> dict[str, Any]:
    if len(name.encode()) > LONGEST_ID:
        raise SearchIndexError(
            f"the id {name[:40]!r}… has {len(name.encode())} bytes, engines take {LONGEST_ID}", "shorten the ids"
        )
    about: dict[str, Any] = {"id": name}
    if document is None:
        return about
    about |= {key: value for key, value in (("title", document.title), ("text", document.text)) if value}
    payload = {**document.metadata, "group": document.group or document.metadata.get("group")}
    for field in fields:
        value = payload.get(field)
        held = value if isinstance(value, list | tuple) else [value]
        if not all(item is None or isinstance(item, str | int | float) for item in held):
            raise SearchIndexError(
                f"{field!r} of document {name!r} holds a {type(value).__name__} of more than plain values",
                "send strings, numbers and truth values, or lists of them",
            )
        if value is not None:
            about[field] = value
    return about


def _lines(name: str, about: dict[str, Any], field: str, vector: str, index: str | None) -> bytes:
    action = {"index": {"_id": name} if index is None else {"_index": index, "_id": name}}
    try:
        head = json.dumps(about, ensure_ascii=False, allow_nan=False)
        return f"{json.dumps(action, ensure_ascii=False)}\n{head[:-1]}, {json.dumps(field)}: {vector}}}\n".encode()
    except ValueError as error:  # of which the error of Unicode is one
        raise SearchIndexError(
            f"document {name!r} cannot be written as JSON: {error}", "look for half characters and NaN in it"
        ) from error
