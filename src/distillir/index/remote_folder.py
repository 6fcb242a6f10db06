"""The folder of an index whose documents are elsewhere, and the name under which others find them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from distillir.errors import SearchIndexError
from distillir.index.options import RemoteOptions
from distillir.index.protocol import index_errors
from distillir.index.server import Server, TroubleError, persist
from distillir.vectors.files import disk_errors, read_json

STATE = "remote.json"


@contextmanager
def told(before: str = "") -> Iterator[None]:
    """Trouble that did not pass is, for the caller of an index, an error of the index."""
    try:
        yield
    except TroubleError as trouble:
        raise SearchIndexError(before + trouble.cause, trouble.cure) from trouble


def check_alias(server: Server, options: RemoteOptions) -> str | None:
    """The collection behind the name that others search, None where there is none yet.

    Raises:
        SearchIndexError: the name means something that is no index of ours. TroubleError: no answer.
    """
    alias = options.collection
    previous = persist(lambda: server.target(alias), options.retries)
    if previous is None and persist(lambda: server.has(alias), options.retries):
        raise SearchIndexError(f"the engine has a collection {alias!r} that is no index of ours", "name another")
    if previous is not None and not previous.startswith(f"{alias}__"):
        raise SearchIndexError(f"the name {alias!r} belongs to the collection {previous!r}", "name another")
    return previous


def collection_prefix(alias: str, dim: int, encoder: str) -> str:
    """What the collections of one name, vocabulary and encoder begin with."""
    return f"{alias}__{hashlib.blake2b(f'{dim} {encoder}'.encode(), digest_size=4).hexdigest()}__"


def read_state(folder: Path, kind: type[RemoteOptions]) -> dict[str, Any]:
    """What `remote.json` holds: options, build, made, finished.

    Args:
        folder: of the index.
        kind: which options its engine takes.

    Raises:
        SearchIndexError: it is missing or damaged.
    """
    with index_errors(), disk_errors(folder, "or index the documents again"):
        state = read_json(folder / STATE)
    known = {field.name for field in fields(kind)}
    if (
        not isinstance(state.get("options"), dict)
        or not known.issuperset(state["options"])
        or not isinstance(state.get("build"), str)
    ):
        raise SearchIndexError(f"{folder / STATE} is damaged", "restore it, or index the documents again")
    return {"made": False, "finished": False, **state}
