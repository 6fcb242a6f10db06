"""The point of a document: Qdrant, embedded or not, names points by UUIDs."""

from __future__ import annotations

import uuid

from distillir.errors import SearchIndexError

_NAMESPACE = uuid.UUID("5d1f7d0e-0f0b-5c58-9a55-6a1d3ad2b8d4")


def point_of(name: str) -> uuid.UUID:
    """The UUID5 of a document's id.

    Raises:
        SearchIndexError: not an id.
    """
    if not isinstance(name, str) or not name:
        raise SearchIndexError(f"{name!r} is not an id", "ids are non-empty strings")
    try:
        return uuid.uuid5(_NAMESPACE, name)
    except UnicodeEncodeError as error:
        raise SearchIndexError(f"the id {name!r} is not valid Unicode", "repair the ids of the collection") from error
