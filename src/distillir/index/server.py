"""What an engine elsewhere must be able to do for an index, and how its failures are told and met.

Every request may be repeated without harm: documents are written by id, collections are made under names that are
never used twice. So whatever may pass is tried again, a bounded number of times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from distillir.index.options import RemoteOptions
from distillir.index.protocol import ScoredId, SparseQuery

T = TypeVar("T")
_FIRST, _LONGEST = 0.2, 10.0  # seconds of the first pause, which doubles, and of any pause


class Row(NamedTuple):
    """One document as it is sent: dimensions and weights, payload as JSON text, and its filter tokens."""

    id: str
    indices: list[int]
    values: list[float]
    payload: str
    tokens: list[str]

    @property
    def size(self) -> int:
        """Bytes of a request that it takes, roughly."""
        return 24 * len(self.indices) + len(self.payload) + 70 * len(self.tokens) + len(self.id) + 100


class Kept(NamedTuple):
    """What is read back of a document; what was not asked for is empty."""

    indices: Sequence[int]
    values: Sequence[float]
    payload: str


class TroubleError(Exception):
    """A request that failed.

    Args:
        cause, cure: as every error's, without keys and without texts of documents.
        again: whether the same request may succeed later.
        wait: seconds that the engine asks for before.
        gone: whether the collection is not there.
    """

    def __init__(
        self, cause: str, cure: str, *, again: bool = False, wait: float | None = None, gone: bool = False
    ) -> None:
        super().__init__(cause)
        self.cause, self.cure, self.again, self.wait, self.gone = cause, cure, again, wait, gone


class Server(Protocol):
    """One engine. Collections go by their own names; an alias is the name that others search. Raises `TroubleError`."""

    most: int  # documents that one search may return

    def __init__(self, options: RemoteOptions) -> None: ...
    def target(self, alias: str) -> str | None:
        """The collection behind an alias, None where there is no such alias."""
        ...

    def has(self, collection: str) -> bool:
        """Whether there is such a collection."""
        ...

    def make(self, collection: str, dim: int) -> None:
        """Make a collection unless it is there."""
        ...

    def drop(self, collection: str) -> None:
        """Remove a collection; one that is not there is no error."""
        ...

    def switch(self, alias: str, collection: str, previous: str | None) -> None:
        """Let an alias name a collection, from one moment to the next."""
        ...

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """Write documents; when it returns they are found."""
        ...

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Remove documents; when it returns they are not found."""
        ...

    def search(
        self, collection: str, queries: Sequence[SparseQuery], limit: int, where: Mapping[str, list[str]]
    ) -> list[list[ScoredId]]:
        """The `limit` best documents of each query; of equal scores, any. `where`: tokens of which one must be held."""
        ...

    def read(self, collection: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Kept]:
        """Vectors or payloads of those documents that are there."""
        ...

    def count(self, collection: str) -> int:
        """Documents."""
        ...

    def optimize(self, collection: str) -> None:
        """Ask the engine to tidy up, where it does not by itself."""
        ...

    def close(self) -> None:
        """Let connections go."""
        ...


def persist(request: Callable[[], T], retries: int, sleep: Callable[[float], Any] = time.sleep) -> T:
    """What a request returns, tried again while its trouble may pass.

    Args:
        request: may be repeated without harm.
        retries: attempts after the first.
        sleep: waits that many seconds: those the engine asks for, else .2, .4, .8, … with a random part so that many
            clients do not come back at once.

    Raises:
        TroubleError: of the last attempt, saying how many there were.
    """
    attempt = 0
    while True:
        try:
            return request()
        except TroubleError as trouble:
            if not trouble.again or attempt == retries:
                if attempt:
                    trouble.cause += f", {attempt + 1} attempts"
                raise
            pause = min(_LONGEST, trouble.wait if trouble.wait is not None else _FIRST * 2**attempt)
            sleep(pause * random.uniform(0.75, 1.25))
            attempt += 1


def portions(rows: Sequence[Row], most: int = 256, budget: int = 8 << 20) -> list[list[Row]]:
    """Rows in requests of bounded number and size: engines and proxies refuse large ones."""
    parts: list[list[Row]] = []
    size = 0
    for row in rows:
        if not parts or len(parts[-1]) == most or size + row.size > budget:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += row.size
    return parts
