"""Payload filters as tokens: one string for each (field, value), so that engines only compare strings.

Comparing tokens keeps out of the results what engines disagree on: `True` is not 1, `1.0` is 1, names may hold dots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from distillir.errors import SearchIndexError
from distillir.index.protocol import Payload

_LONGEST = 64


def token(field: str, value: object) -> str:
    """The token of one field and one plain value.

    Raises:
        SearchIndexError: the value is not a string, a finite number, a truth value or None.
    """
    if not (value is None or isinstance(value, str | int | float)):
        raise SearchIndexError(
            f"cannot filter {field!r} by a {type(value).__name__}",
            "use a string, a number, a truth value, or a list of them",
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        text = json.dumps([field, value], allow_nan=False)
    except ValueError as error:
        raise SearchIndexError(f"cannot filter {field!r} by {value!r}", "use a finite number") from error
    return text if len(text) <= _LONGEST else hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def payload_tokens(payload: Payload, fields: Iterable[str] | None = None) -> list[str]:
    """Tokens of a payload, or of some of its fields. Nested mappings and lists have none: nothing is equal to them."""
    found: dict[str, None] = {}
    for field in payload if fields is None else fields:
        held = payload.get(field, [])
        for value in held if isinstance(held, list | tuple) else [held]:
            if value is None or isinstance(value, str | int | float):
                found[token(field, value)] = None
    return list(found)


def where_tokens(where: Payload) -> dict[str, list[str]]:
    """For each field, the tokens of which a document must have one."""
    return {
        field: [token(field, value) for value in (wanted if isinstance(wanted, list | tuple) else [wanted])]
        for field, wanted in where.items()
    }


def dump_payload(payload: Payload) -> str:
    """A payload as JSON text.

    Raises:
        SearchIndexError: it is not a mapping of strings to JSON values.
    """
    if not all(isinstance(field, str) for field in payload):
        raise SearchIndexError("a payload has a field whose name is not a string", "name fields by strings")
    try:
        return json.dumps(dict(payload), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SearchIndexError(
            f"a payload is not JSON: {error}", "use strings, finite numbers, lists, mappings"
        ) from error
