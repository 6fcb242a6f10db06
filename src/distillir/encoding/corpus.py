"""A corpus into stored vectors, once; a kill costs at most the shard being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillir.data import Corpus
from distillir.errors import VectorsError
from distillir.students.sparse import SparseStudent
from distillir.vectors import SparseVectors, SparseVectorsWriter

GROUP = 1024  # documents a shard


def encode_corpus(
    encoder: SparseStudent,
    corpus: Corpus,
    folder: str | Path,
    *,
    dtype: str = "float16",
    batch_size: int = 32,
    shard_rows: int = GROUP,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> SparseVectors:
    """Encode every document, or go on where an earlier call was stopped.

    Args:
        encoder: document encoder; its fingerprint and document length name the vectors.
        corpus: rows keep its ids and order.
        folder: of the vectors.
        shard_rows: documents sorted by length together and committed together, the most a kill costs. To go on with
            bitwise the same vectors, give the same number again.
        watch: called with (documents done, documents in all).

    Raises:
        VectorsError: the folder holds vectors of another encoder, length or corpus.
    """
    meta = {"encoder": encoder.fingerprint(), "document_length": encoder.settings.document_length}
    total = len(corpus)
    with SparseVectorsWriter(folder, encoder.dim, dtype, shard_rows=shard_rows, meta=meta) as writer:
        done = writer.committed
        if done:
            _check_ids(folder, corpus)
            watch(done, total)
        for start in range(done, total, shard_rows):
            rows = range(start, min(start + shard_rows, total))
            vectors = encoder.encode_documents([corpus.text(i) for i in rows], batch_size)
            writer.append([corpus.doc_id(i) for i in rows], vectors)
            writer.flush()
            watch(rows.stop, total)
    return SparseVectors.open(folder)


def _check_ids(folder: str | Path, corpus: Corpus) -> None:
    """Refuse rows that are not the corpus's first ones."""
    stored = SparseVectors.open(folder, partial=True)
    for i, doc_id in enumerate(stored.ids):
        if i >= len(corpus) or doc_id != corpus.doc_id(i):
            theirs = repr(corpus.doc_id(i)) if i < len(corpus) else "no document"
            raise VectorsError(
                f"{folder} holds vectors of another corpus: row {i} is {doc_id!r}, the corpus has {theirs} there",
                "encode into another folder, or remove this one",
            )
