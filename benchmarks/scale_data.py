"""Synthetic collections as SPLADE makes them: Zipf-like dimensions, log-normal weights, topics. numpy only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.index import SparseQuery
from distillir.vectors import CSR, SparseVectors, SparseVectorsWriter, csr_from_rows
from distillir.vectors.csr import take_rows

VOCABULARY = 30_522
FIRST_WORD = 1996  # BERT's vocabulary names words from here on, frequent ones first
FLATTEN = 20  # popularity of the dimension of rank r is 1/(r + FLATTEN): the first is in half of the documents
TOPICS, TOPIC_WORDS = 1000, 300  # half of a document's dimensions come from its topic
LENGTH, SPREAD, LONGEST = 112, 0.35, 192  # draws a document, log-normal; a hundred of them differ
BLOCK = 16_384  # documents made at once, the rows of a shard
TERMS, OTHERS = 20, 5  # of a query


def words(u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Dimensions at quantiles `u` of the popularity, most popular first."""
    rank = FLATTEN * ((VOCABULARY + FLATTEN) / FLATTEN) ** u - FLATTEN  # ∫ 1/(r + FLATTEN), solved for r
    return (rank.astype(np.int64).clip(max=VOCABULARY - 1) + FIRST_WORD) % VOCABULARY


def block(number: int, seed: int = 5) -> CSR:
    """(16,384, 30,522) documents, the same for a number in every collection."""
    rng = np.random.default_rng([seed, number])
    of_topics = words(np.random.default_rng(seed).random((TOPICS, TOPIC_WORDS)))
    drawn = words(rng.random((BLOCK, LONGEST)))
    half = rng.integers(TOPIC_WORDS, size=(BLOCK, LONGEST // 2))
    drawn[:, ::2] = of_topics[rng.integers(TOPICS, size=(BLOCK, 1)), half]
    lengths = rng.lognormal(np.log(LENGTH), SPREAD, BLOCK).clip(8, LONGEST)
    within = np.arange(LONGEST) < lengths[:, None]
    entries = (np.arange(BLOCK)[:, None] * VOCABULARY + drawn)[within].astype(np.int32)  # 2²⁹ of them at most
    entries.sort()
    row, indices = np.divmod(entries[np.diff(entries, prepend=-1) > 0], VOCABULARY)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=BLOCK))])
    values = rng.lognormal(-0.4, 0.8, len(row)).clip(0.01, 8)
    return CSR(indptr, indices, values.astype(np.float32))


def write(folder: Path, documents: int) -> SparseVectors:
    """A collection of so many documents, made and written a block at a time; larger ones begin with smaller ones."""
    with SparseVectorsWriter(folder, VOCABULARY, shard_rows=BLOCK) as writer:
        for first in range(0, documents, BLOCK):
            rows = min(BLOCK, documents - first)
            writer.append([f"d{first + i}" for i in range(rows)], take_rows(*block(first // BLOCK), np.arange(rows)))
    return SparseVectors.open(folder)


def queries(count: int, seed: int = 7) -> list[SparseQuery]:
    """Query i asks for document i by its heaviest dimensions under other weights, and has some that it has not."""
    rng = np.random.default_rng(seed)
    documents = block(0)
    made = []
    for i in range(count):
        indices, values = documents.row(i)
        kept = np.argsort(-values)[:TERMS]
        dimensions = np.concatenate([indices[kept], words(rng.random(OTHERS))])
        weights = np.concatenate([values[kept], np.ones(OTHERS)]) * rng.lognormal(0, 0.3, len(dimensions))
        unique, first = np.unique(dimensions, return_index=True)
        made.append(SparseQuery(unique.astype(np.int32), weights[first].astype(np.float32)))
    return made


def save_queries(path: Path, count: int) -> CSR:
    """Make queries and keep them, so that who asks them holds no documents."""
    rows = csr_from_rows(queries(count), VOCABULARY)
    np.savez(path, indptr=rows.indptr, indices=rows.indices, values=rows.values)
    return rows


def read_queries(path: Path, count: int) -> CSR:
    """The first of the queries that `save_queries` kept."""
    with np.load(path, allow_pickle=False) as held:
        rows = CSR(held["indptr"], held["indices"], held["values"])
    return take_rows(*rows, np.arange(count))
