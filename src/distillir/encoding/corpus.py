"""A corpus into stored vectors, once; a kill costs at most the shard being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillir.data import Corpus
from distillir.encoding.filling import check_rows, fill_from_corpus
from distillir.encoding.shares import Shares, fill_from_shares
from distillir.students.sparse import SparseStudent
from distillir.vectors import CSR, SparseVectors, SparseVectorsWriter

GROUP = 1024  # documents a shard


def encode_corpus(
    encoder: SparseStudent,
    corpus: Corpus,
    folder: str | Path,
    *,
    dtype: str = "float16",
    batch_size: int = 32,
    shard_rows: int = GROUP,
    shares: Shares | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> SparseVectors:
    """Encode every document, or go on where an earlier call was stopped.

    Args:
        encoder: document encoder; its fingerprint and document length name the vectors.
        corpus: rows keep its ids and order.
        folder: of the vectors.
        shard_rows: documents sorted by length together and committed together, the most a kill costs. To go on with
            bitwise the same vectors, give the same number again.
        shares: where documents are encoded, such as `OnRay()`; None = in this process. Bitwise the same on processors
            of one kind with one number of threads.
        watch: called with (documents done, documents in all).

    Raises:
        VectorsError: the folder holds vectors of another encoder, length or corpus.
    """
    meta = {"encoder": encoder.fingerprint(), "document_length": encoder.settings.document_length}
    with SparseVectorsWriter(folder, encoder.dim, dtype, shard_rows=shard_rows, meta=meta) as writer:
        if writer.committed:
            check_rows(SparseVectors.open(folder, partial=True).ids, corpus, folder)
        if shares is None:

            def encode(texts: list[str]) -> CSR:
                return encoder.encode_documents(texts, batch_size)

            fill_from_corpus(writer, corpus, encode, shard_rows, watch)
        else:
            fill_from_shares(writer, corpus, Path(folder), meta, encoder, batch_size, shard_rows, shares, watch)
    return SparseVectors.open(folder)
