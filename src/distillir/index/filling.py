"""Moving a store of vectors into an index."""

from __future__ import annotations

from collections.abc import Callable

from distillir.errors import SearchIndexError
from distillir.index.protocol import Index, Payload
from distillir.vectors import SparseVectors


def fill(index: Index, vectors: SparseVectors, payload: Callable[[str], Payload] | None = None) -> None:
    """Add every document of a store, a bounded number at a time. After a crash, fill again: documents are replaced.

    Args:
        index: where to.
        vectors: where from.
        payload: what to keep beside a document, given its id.

    Raises:
        SearchIndexError: the store has another number of dimensions, or was written by another encoder.
    """
    origin = str(vectors.meta.get("encoder", ""))
    if vectors.dim != index.dim or (origin and index.encoder and origin != index.encoder):
        raise SearchIndexError(
            f"vectors of {vectors.dim} dimensions by the encoder {origin!r} do not fit an index of {index.dim} by "
            f"{index.encoder!r}",
            "encode the documents with the index's encoder, or create another index",
        )
    for start, rows in vectors.blocks():
        ids = [vectors.ids[start + i] for i in range(rows.rows)]
        index.add(ids, rows, None if payload is None else [payload(name) for name in ids])
