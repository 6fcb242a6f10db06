"""What every search engine of the project does, and what it may rely on being given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SearchIndexError, VectorsError
from distillir.vectors import CSR, check_csr

Payload = Mapping[str, Any]


class SparseQuery(NamedTuple):
    """One query: dimensions, each once and in any order, and their weights, none negative."""

    indices: NDArray[Any]
    values: NDArray[Any]


class ScoredId(NamedTuple):
    """A document's id and its dot product with the query."""

    id: str
    score: float


class Index(Protocol):
    """Documents with sparse vectors and payloads, on disk.

    A document is found when its score is above zero. Weights are never negative, so that is: when it shares a dimension
    with the query. Errors are `SearchIndexError`.
    """

    @property
    def dim(self) -> int:
        """Number of dimensions, the vocabulary size."""
        ...

    @property
    def encoder(self) -> str:
        """Which encoder the documents come from; empty where nobody said."""
        ...

    def add(self, ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None = None) -> None:
        """Add documents, replacing those whose id is there; once this returns they survive a crash, all of them."""
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents; an id that is not there is no error."""
        ...

    def search(self, query: SparseQuery, k: int, where: Payload | None = None) -> list[ScoredId]:
        """The k best documents, best first, equal scores by id. An empty query finds nothing.

        `where` keeps documents whose payload has each named field equal to the value (or, for a list, to one of the
        values); a payload field that holds a list is equal to each of its members.
        """
        ...

    def search_batch(
        self, queries: Sequence[SparseQuery], k: int, where: Payload | None = None
    ) -> list[list[ScoredId]]:
        """`search` for many queries at once."""
        ...

    def vectors(self, ids: Sequence[str]) -> CSR:
        """The documents' vectors, in the order of the ids."""
        ...

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The documents' payloads, in the order of the ids."""
        ...

    def optimize(self) -> None:
        """Give back the space of deleted documents and merge what many small additions left; may take minutes."""
        ...

    def __len__(self) -> int: ...
    def close(self) -> None:
        """Let the files go; closing twice is harmless."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Finishing(Protocol):
    """An index that has something to do once all documents are there, and before others search it."""

    def finish(self) -> None:
        """Do it; again where it was stopped."""
        ...


class Block(NamedTuple):
    """Documents in memory; payloads as JSON text."""

    ids: Sequence[str]
    vectors: CSR
    payloads: Sequence[bytes]


@runtime_checkable
class Listing(Protocol):
    """An index that can name all its documents."""

    def documents(self) -> Iterator[Block]:
        """All documents, a bounded number at a time, as they are when it begins."""
        ...


@contextmanager
def index_errors() -> Iterator[None]:
    """What the vector store refuses is, for the caller of an index, an error of the index."""
    try:
        yield
    except VectorsError as error:
        raise SearchIndexError(error.cause, error.cure) from error


def check_documents(ids: Sequence[str], vectors: CSR, payloads: Sequence[Payload] | None, dim: int) -> CSR:
    """The vectors, once ids, vectors and payloads are known to fit each other and the index."""
    with index_errors():
        checked = check_csr(*vectors, dim)
    if checked.rows != len(ids) or (payloads is not None and len(payloads) != len(ids)):
        given = "" if payloads is None else f" and {len(payloads)} payloads"
        raise SearchIndexError(f"{len(ids)} ids for {checked.rows} vectors{given}", "give one of each a document")
    if len(set(ids)) != len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise SearchIndexError(f"the id {twice!r} is twice in one call", "give each document its own id")
    for name in ids:
        if not isinstance(name, str) or not name:
            raise SearchIndexError(f"{name!r} is not an id", "ids are non-empty strings")
    if (checked.values < 0).any():
        raise SearchIndexError("a document has a negative weight", "index vectors whose weights are zero or above")
    return checked


def check_query(query: SparseQuery, dim: int) -> SparseQuery:
    """The query with its dimensions sorted, int32 and float32, and without zeros."""
    indices, values = np.asarray(query.indices), np.asarray(query.values)
    if indices.size == 0 and values.size == 0:
        return SparseQuery(np.empty(0, np.int32), np.empty(0, np.float32))
    if indices.ndim != 1 or indices.shape != values.shape:
        raise SearchIndexError(f"a query of {indices.shape} dimensions and {values.shape} weights", "pair them")
    order = np.argsort(indices, kind="stable")
    try:
        row = check_csr(np.array([0, len(order)]), indices[order], values[order], dim)
    except VectorsError as error:
        raise SearchIndexError(
            f"the query does not fit an index of {dim} dimensions: {error.cause}", error.cure
        ) from error
    if (row.values < 0).any():
        raise SearchIndexError("the query has a negative weight", "search with weights of zero or above")
    kept = row.values > 0
    return SparseQuery(row.indices[kept], row.values[kept])


def check_k(k: int) -> None:
    """Refuse to search for nothing."""
    if k < 1:
        raise SearchIndexError(f"k is {k}", "ask for at least one document")
