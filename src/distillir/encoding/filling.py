"""Filling a store of vectors, sparse or dense, a shard at a time: a kill costs at most the shard being written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from distillir.conversation import Conversation
from distillir.data import Corpus
from distillir.errors import VectorsError

Rows = TypeVar("Rows")
Taken_contra = TypeVar("Taken_contra", contravariant=True)


class Writer(Protocol[Taken_contra]):
    """What of a writer of vectors is used here."""

    @property
    def committed(self) -> int:
        """Rows that are safe."""

    def has(self, row_id: str) -> bool:
        """Whether a row of this id was appended."""

    def append(self, ids: Sequence[str], rows: Taken_contra) -> None:
        """Add rows."""

    def flush(self) -> None:
        """Commit what was appended."""


def check_rows(ids: Iterable[str], corpus: Corpus, where: str | Path) -> None:
    """Refuse rows that are not the corpus's first ones, in its order.

    Raises:
        VectorsError: naming the first row that is another document.
    """
    for i, doc_id in enumerate(ids):
        if i >= len(corpus) or doc_id != corpus.doc_id(i):
            theirs = repr(corpus.doc_id(i)) if i < len(corpus) else "no document"
            raise VectorsError(
                f"{where} holds vectors of another corpus: row {i} is {doc_id!r}, the corpus has {theirs} there",
                "encode into another folder, or remove this one",
            )


def fill_from_corpus(
    writer: Writer[Rows],
    corpus: Corpus,
    encode: Callable[[list[str]], Rows],
    shard_rows: int,
    watch: Callable[[int, int], None],
) -> None:
    """Append every document from the first that is not committed on.

    Args:
        writer: of a store whose rows are the corpus's first ones.
        corpus: rows keep its ids and order.
        encode: texts to rows, in order.
        shard_rows: documents encoded and committed together.
        watch: called with (documents done, documents in all).
    """
    total = len(corpus)
    if writer.committed:
        watch(writer.committed, total)
    for start in range(writer.committed, total, shard_rows):
        rows = range(start, min(start + shard_rows, total))
        vectors = encode([corpus.text(i) for i in rows])
        writer.append([corpus.doc_id(i) for i in rows], vectors)
        writer.flush()
        watch(rows.stop, total)


def key_of(text: str) -> str:
    """Under which the vector of a text is kept."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def fill_with_rewrites(
    writer: Writer[Rows],
    texts: Mapping[str, str],
    encode: Callable[[list[Conversation]], Rows],
    shard_rows: int,
    watch: Callable[[int, int], None],
) -> None:
    """Append rewrites that the store lacks.

    Args:
        writer: of a store whose ids are keys of texts.
        texts: key → rewrite. A rewrite is a first turn: it stands alone.
        encode: conversations to rows, in order.
        shard_rows: rewrites encoded and committed together.
        watch: called with (rewrites done, rewrites in all).
    """
    items = list(texts.items())
    for start in range(0, len(items), shard_rows):
        part = [(key, text) for key, text in items[start : start + shard_rows] if not writer.has(key)]
        rows = encode([Conversation.from_pairs([], text) for _, text in part])
        writer.append([key for key, _ in part], rows)
        writer.flush()
        watch(min(start + shard_rows, len(items)), len(items))
