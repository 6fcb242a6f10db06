"""What indexes of the engine Qdrant Edge share: filters, errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qdrant_edge as qe

from distillir.errors import DistillirError, SearchIndexError
from distillir.index.filters import where_tokens
from distillir.index.protocol import Payload


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
