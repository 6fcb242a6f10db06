"""A corpus into stored vectors, once; a kill costs at most the shard being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillir.data import Corpus
from distillir.students.sparse import SparseStudent
from distillir.vectors import SparseVectors, SparseVectorsWriter

GROUP = 1024  # documents rendered and sorted by length together, and rows of a shard: the most a kill costs


def encode_corpus(
    encoder: SparseStudent,
    corpus: Corpus,
    folder: str | Path,
    *,
    dtype: str = "float16",
    batch_size: int = 32,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> SparseVectors:
    """Encode every document, or go on where an earlier call was stopped.

    Args:
        encoder: document encoder; its fingerprint and document length name the vectors.
        corpus: rows keep its ids and order.
        folder: of the vectors.
        watch: called with (documents done, documents in all).

    Raises:
        VectorsError: the folder holds vectors of another encoder, length or corpus.
    """
    meta = {"encoder": encoder.fingerprint(), "document_length": encoder.settings.document_length}
    with SparseVectorsWriter(folder, encoder.dim, dtype, shard_rows=GROUP, meta=meta) as writer:
        total = len(corpus)
        for start in range(0, total, GROUP):
            rows = [i for i in range(start, min(start + GROUP, total)) if not writer.has(corpus.doc_id(i))]
            if rows:
                vectors = encoder.encode_documents([corpus.text(i) for i in rows], batch_size)
                writer.append([corpus.doc_id(i) for i in rows], vectors)
            watch(min(start + GROUP, total), total)
    return SparseVectors.open(folder)
