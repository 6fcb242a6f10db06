"""Texts into dense vectors: corpora, rewrites, and what the teacher ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.data import Corpus
from distillir.encoding.filling import check_rows, fill_from_corpus, fill_with_rewrites, key_of
from distillir.encoding.shares import Shares, fill_from_shares
from distillir.errors import VectorsError
from distillir.sampling import RankedPool, Ranking
from distillir.students.dense import DenseStudent
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_layout import Similarity
from distillir.vectors.dense_writer import DenseVectorsWriter
from distillir.vectors.layout import MANIFEST

GROUP = 1024  # documents a shard
REWRITES = 256  # rewrites a shard
QUERIES = 256  # contexts ranked at a time
SAMPLE = 32  # documents looked at to tell whose space vectors are of
SAME_SPACE = 0.8  # mean cosine below which they are not the encoder's; other lengths and precisions stay above .9


def encode_dense_corpus(
    encoder: DenseStudent,
    corpus: Corpus,
    folder: str | Path,
    *,
    dtype: str = "float16",
    batch_size: int = 32,
    shard_rows: int = GROUP,
    shares: Shares | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> DenseVectors:
    """Encode every document, or go on where an earlier call was stopped.

    Args:
        encoder: document encoder; its fingerprint, pooling, length and prefix name the vectors.
        corpus: rows keep its ids and order.
        folder: of the vectors.
        shard_rows: documents sorted by length together and committed together, the most a kill costs.
        shares: where documents are encoded, such as `OnRay()`; None = in this process. Bitwise the same on processors
            of one kind with one number of threads.
        watch: called with (documents done, documents in all).

    Raises:
        VectorsError: the folder holds vectors of another encoder, length or corpus.
    """
    with DenseVectorsWriter(
        folder, encoder.dim, dtype, similarity_of(encoder), shard_rows=shard_rows, meta=encoder.document_reading()
    ) as writer:
        if writer.committed:
            check_corpus(DenseVectors.open(folder, partial=True), corpus)
        if shares is None:

            def encode(texts: list[str]) -> NDArray[np.float32]:
                return encoder.encode_documents(texts, batch_size)

            fill_from_corpus(writer, corpus, encode, shard_rows, watch)
        else:
            fill_from_shares(
                writer, corpus, Path(folder), encoder.document_reading(), encoder, batch_size, shard_rows, shares, watch
            )
    return DenseVectors.open(folder)


def similarity_of(encoder: DenseStudent) -> Similarity:
    """What an encoder's vectors are compared by."""
    return "cosine" if encoder.settings.normalise else "dot"


def check_corpus(vectors: DenseVectors, corpus: Corpus) -> None:
    """Refuse rows that are not the corpus's first ones, in its order.

    Raises:
        VectorsError: naming the first row that is another document.
    """
    check_rows(vectors.ids, corpus, vectors.path)


def check_space(encoder: DenseStudent, vectors: DenseVectors, corpus: Corpus) -> float:
    """Mean cosine between stored vectors and what the encoder makes of the same documents, on an even sample.

    Vectors of another model have the same width often enough; a student would learn from noise.

    Raises:
        VectorsError: the vectors are of another width, of documents the corpus lacks, or not of this encoder.
    """
    if vectors.dim != encoder.dim:
        raise VectorsError(
            f"{vectors.path} holds vectors of width {vectors.dim}, the encoder makes {encoder.dim}",
            "name the model they come from",
        )
    rows = np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.int64)
    stored = vectors.gather(rows)
    made = encoder.encode_documents([corpus[vectors.ids[int(i)]].contents for i in rows])
    cosines = (stored * made).sum(1) / (np.linalg.norm(stored, axis=1) * np.linalg.norm(made, axis=1)).clip(1e-12)
    if cosines.mean() < SAME_SPACE:
        raise VectorsError(
            f"{vectors.path} does not hold this encoder's vectors: their mean cosine with its own is "
            f"{cosines.mean():.2f} on {len(rows)} documents",
            "name the model, prefixes and pooling that made them",
        )
    return float(cosines.mean())


def dense_rewrite_vectors(
    encoder: DenseStudent,
    texts: Sequence[str],
    folder: str | Path,
    *,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float32]:
    """(R, D) vectors of rewrites, in order, through a store keyed by text and encoder.

    A rewrite teacher's score of any document is the dot product of this vector with the document's, so nothing else
    about a teacher is ever stored.

    Args:
        encoder: the frozen encoder. A rewrite is a first turn: it stands alone.
        folder: parent of one store per encoder; new texts are appended to it.
    """
    reading = {**encoder.document_reading(), "query_prefix": encoder.settings.query_prefix}
    reading["query_length"] = encoder.settings.render.max_length
    told = hashlib.blake2b(repr(sorted(reading.items())).encode(), digest_size=8).hexdigest()
    keys = [key_of(text) for text in texts]
    new = dict(zip(keys, texts, strict=True))
    store = Path(folder) / f"dense-{told}"
    if (store / MANIFEST).exists():  # readers need no lock: only a new text does
        found = DenseVectors.open(store, partial=True).find(list(new))
        new = {key: text for (key, text), row in zip(new.items(), found.tolist(), strict=True) if row < 0}
    if new or not (store / MANIFEST).exists():
        with DenseVectorsWriter(store, encoder.dim, "float32", "dot", shard_rows=REWRITES, meta=reading) as writer:
            fill_with_rewrites(writer, new, encoder.encode_queries, REWRITES, watch)
    stored = DenseVectors.open(store, partial=True)
    return stored.gather(stored.position(keys))


def fuse_dense(
    vectors: Mapping[str, NDArray[np.float32]], weights: Sequence[Mapping[str, float]], dim: int
) -> NDArray[np.float32]:
    """(B, D) weighted sum of teachers' vectors per context: any linear fusion of scores is one vector.

    Args:
        vectors: teacher → (B, D) vectors of all contexts; a row counts where the context's weights name the teacher.
        weights: per context, teacher → weight.
        dim: D.
    """
    fused = np.zeros((len(weights), dim), np.float32)
    for i, shares in enumerate(weights):
        for teacher, weight in shares.items():
            fused[i] += np.float32(weight) * vectors[teacher][i]
    return fused


def dense_teacher_pool(
    names: Sequence[str],
    queries: NDArray[np.float32],
    documents: DenseVectors,
    *,
    depth: int = 1000,
    folder: str | Path | None = None,
) -> RankedPool:
    """Rank a candidate corpus for every context by the teacher's vector, exactly.

    Args:
        names: context ids. queries: (B, D), the teacher's vector of each.
        documents: vectors of the candidate corpus; positions in the pool are its rows.
        depth: documents kept a context.
        folder: where to keep the pool; None = in memory.
    """

    def rankings() -> Iterator[tuple[str, Ranking]]:
        for start in range(0, len(names), QUERIES):
            rows, scores = documents.nearest(queries[start : start + QUERIES], depth)
            for name, found, values in zip(names[start : start + QUERIES], rows, scores, strict=True):
                yield name, Ranking(found, values)

    return RankedPool.build(rankings(), folder, retriever="teacher")
