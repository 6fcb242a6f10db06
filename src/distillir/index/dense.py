"""Exact search over a folder of dense vectors, where it lies: nothing is built, nothing is approximated.

A scan of N rows costs N·D multiplications, milliseconds at a hundred thousand documents, and is the reference for any
approximate engine. Documents are added by a `DenseVectorsWriter` and seen after opening again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.closing import Closing
from distillir.errors import SearchIndexError
from distillir.index.protocol import ScoredId, check_k, index_errors
from distillir.vectors.dense import DenseVectors, checked_queries, nearest_in

RESIDENT = 1 << 30  # bytes of float32 rows up to which they are kept in memory after the first search
_BLOCK = 1 << 14


class DenseIndex(Closing):
    """Documents of a vectors folder; use `DenseIndex.open`, or hand it an open store.

    Under the similarity "cosine" queries are scaled to unit length, so that scores are cosines whatever the encoder
    does; under "dot" they are taken as they are.

    Args:
        vectors: the store.
        resident: bytes up to which rows are kept in memory as float32; a larger store is read from disk each time.
    """

    def __init__(self, vectors: DenseVectors, *, resident: int = RESIDENT) -> None:
        self.store = vectors
        self._keep = len(vectors) * vectors.dim * 4 <= resident
        self._rows: NDArray[np.float32] | None = None
        self._closed = False

    @classmethod
    def open(cls, path: str | Path, *, dim: int | None = None, encoder: str | None = None) -> DenseIndex:
        """Open a folder of vectors for search.

        Args:
            path: the folder.
            dim: when given, refuse vectors of another width.
            encoder: when given, refuse vectors of another encoder.

        Raises:
            SearchIndexError: missing, unfinished, damaged, or of another width or encoder.
        """
        with index_errors():
            vectors = DenseVectors.open(path)
        if dim is not None and dim != vectors.dim:
            raise SearchIndexError(
                f"{path} holds vectors of width {vectors.dim}, the encoder makes {dim}", "name the model they come from"
            )
        if encoder is not None and encoder != vectors.encoder:
            raise SearchIndexError(
                f"{path} was built by the encoder {vectors.encoder!r}, not {encoder!r}",
                "encode the documents again, or change encoder",
            )
        return cls(vectors)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.store.dim

    @property
    def encoder(self) -> str:
        """Which encoder the documents come from; empty where nobody said."""
        return self.store.encoder

    @property
    def similarity(self) -> str:
        """Either "cosine" or "dot"."""
        return self.store.similarity

    def search(self, query: ArrayLike, k: int, among: Sequence[str] | None = None) -> list[ScoredId]:
        """The k best documents for a query (D,), best first, equal scores in row order, whatever their sign.

        Args:
            query: (D,).
            k: how many at most.
            among: ids to choose from, as a filter of the caller's own; None = all.

        Raises:
            SearchIndexError: a query of another width, all zeros under "cosine", or not finite; an unknown id; k < 1.
        """
        return self.search_batch([np.asarray(query, np.float32)], k, among)[0]

    def search_batch(self, queries: ArrayLike, k: int, among: Sequence[str] | None = None) -> list[list[ScoredId]]:
        """`search` for many queries (Q, D) at once, by one matrix product a block."""
        check_k(k)
        if self._closed:
            raise SearchIndexError("this index is closed", "open it again")
        if not len(np.asarray(queries)):
            return []
        with index_errors():
            asked = checked_queries(queries, self.dim)
            if self.similarity == "cosine":
                asked = _unit(asked)
            chosen = None if among is None else np.unique(self.store.position(list(dict.fromkeys(among))))
            count = len(self.store) if chosen is None else len(chosen)
            rows, scores = nearest_in(lambda: self._blocks(chosen), asked, min(k, count))
        places = rows if chosen is None else chosen[rows]
        return [
            [ScoredId(self.store.ids[place], score) for place, score in zip(found, values, strict=True)]
            for found, values in zip(places.tolist(), scores.tolist(), strict=True)
        ]

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """(len(ids), D) vectors in the order of the ids.

        Raises:
            SearchIndexError: an unknown id.
        """
        with index_errors():
            return self.store.gather(self.store.position(ids))

    def __len__(self) -> int:
        return len(self.store)

    def close(self) -> None:
        """Let the memory go; closing twice is harmless."""
        self._closed, self._rows = True, None

    def _blocks(self, chosen: NDArray[np.int64] | None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        if chosen is not None:
            for start in range(0, len(chosen), _BLOCK):
                yield start, self.store.gather(chosen[start : start + _BLOCK])
        elif self._keep:
            if self._rows is None:
                self._rows = self.store.gather(np.arange(len(self.store)))
            for start in range(0, len(self._rows), _BLOCK):
                yield start, self._rows[start : start + _BLOCK]
        else:
            yield from self.store.blocks(_BLOCK)


def _unit(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    if not lengths.all():
        raise SearchIndexError(f"query {int(np.argmin(lengths))} is all zeros and has no direction", "ask in words")
    scaled: NDArray[np.float32] = queries / lengths
    return scaled
