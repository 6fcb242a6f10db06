"""What indexes of the engine Qdrant Edge share: points, filters, errors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qdrant_edge as qe

from distillir.errors import DistillirError, SearchIndexError
from distillir.index.filters import where_tokens
from distillir.index.protocol import Payload

_NAMESPACE = uuid.UUID("5d1f7d0e-0f0b-5c58-9a55-6a1d3ad2b8d4")


def point_of(name: str) -> uuid.UUID:
    """The point of a document's id.

    Raises:
        SearchIndexError: not an id.
    """
    if not isinstance(name, str) or not name:
        raise SearchIndexError(f"{name!r} is not an id", "ids are non-empty strings")
    try:
        return uuid.uuid5(_NAMESPACE, name)
    except UnicodeEncodeError as error:
        raise SearchIndexError(f"the id {name!r} is not valid Unicode", "repair the ids of the collection") from error


def condition_of(where: Payload) -> Any:
    """A filter of the engine; see `Index.search`."""
    matches = [qe.MatchAny(tokens) for tokens in where_tokens(where).values()]
    return qe.Filter(must=[qe.FieldCondition(key="tokens", match=match) for match in matches])


@contextmanager
def engine_errors(action: str) -> Iterator[None]:
    """What the engine raises, panics too, as an error of the index."""
    try:
        yield
    except (DistillirError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic inside the engine is not an Exception
        raise SearchIndexError(f"{action}: {error}", "restore the folder, or build the index again") from error
