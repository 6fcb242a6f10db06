"""What a sparse query costs: active dimensions, flops@corpus, postings touched, measured latency.

`P_q(j)` is the share of evaluation queries and `P_d(j)` the share of the collection's documents with a non-zero weight
on dimension j. flops@corpus = Σ_j P_q(j)·P_d(j) (Paria et al., "Minimizing FLOPs to Learn Efficient Sparse
Representations", ICLR 2020): the expected number of multiplications for one query and one document. With fixed
documents it is the mean over queries of Σ_{j active} P_d(j), so each query and each turn has its own share. The number
means nothing without the corpus; over several corpora it is computed in each and weighted by queries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distillir.errors import EvaluationError
from distillir.vectors import CSR

Item = TypeVar("Item")


class CorpusFlops(NamedTuple):
    """flops@corpus of one corpus.

    Attributes:
        corpus: its name.
        flops: mean over queries.
        queries: number of queries evaluated on it.
    """

    corpus: str
    flops: float
    queries: int


class Latency(NamedTuple):
    """Wall time of one call in milliseconds: median, 90th and 99th percentile of n timed calls."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    n: int


def active_dims(queries: CSR) -> NDArray[np.int64]:
    """(Q,) number of non-zero weights of each query."""
    return np.diff(_ends(queries.values != 0, queries.indptr))


def postings_touched(queries: CSR, document_frequency: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(Q,) postings that an exact search reads: the document frequencies of the active dimensions, summed.

    Args:
        queries: Q sparse queries.
        document_frequency: (V,) documents with a non-zero weight on each dimension.
    """
    frequency = np.asarray(document_frequency)
    if frequency.ndim != 1 or frequency.dtype.kind not in "iu" or (frequency.size and frequency.min() < 0):
        raise EvaluationError(
            f"document frequencies of shape {frequency.shape} and type {frequency.dtype}", "give (V,) counts"
        )
    if queries.indices.size and queries.indices.max() >= len(frequency):
        raise EvaluationError(
            f"a query has dimension {queries.indices.max()}, the documents have {len(frequency)}",
            "encode queries and documents with the same vocabulary",
        )
    per_entry = np.where(queries.values != 0, frequency[queries.indices], 0).astype(np.int64)
    return np.diff(_ends(per_entry, queries.indptr))


def flops_per_query(queries: CSR, document_frequency: NDArray[np.integer[Any]], documents: int) -> NDArray[np.float64]:
    """(Q,) Σ_{j active} P_d(j); the mean is flops@corpus of these queries on this corpus.

    Args:
        queries: Q sparse queries.
        document_frequency: (V,) documents with a non-zero weight on each dimension.
        documents: size of the collection.
    """
    touched = postings_touched(queries, document_frequency)
    top = int(np.max(document_frequency, initial=0))
    if documents < 1 or top > documents:
        raise EvaluationError(
            f"a document frequency of {top} in a collection of {documents} documents",
            "frequencies and number of documents must come from the same collection",
        )
    return touched / documents


def flops_at_corpus(
    queries: CSR, document_frequency: NDArray[np.integer[Any]], documents: int, *, corpus: str
) -> CorpusFlops:
    """flops@corpus of a set of queries on one named corpus."""
    if queries.rows == 0:
        raise EvaluationError(f"no query to measure on {corpus}", "give at least one")
    per_query = flops_per_query(queries, document_frequency, documents)
    return CorpusFlops(corpus, float(per_query.mean()), queries.rows)


def flops_over_corpora(parts: Sequence[CorpusFlops]) -> float:
    """Mean of several corpora's flops, weighted by their queries."""
    queries = sum(part.queries for part in parts)
    if queries == 0:
        raise EvaluationError("no corpus with queries", "measure at least one with flops_at_corpus()")
    return sum(part.flops * part.queries for part in parts) / queries


def measure_latency(
    call: Callable[[Item], object],
    inputs: Iterable[Item],
    *,
    warmup: int = 5,
    repeats: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Latency:
    """Time a callable on one input at a time, as a user waits for it.

    Args:
        call: what to time.
        inputs: its inputs; each is timed `repeats` times, pass after pass.
        warmup: untimed calls first, from the start of the inputs (again and again when they are few).
        repeats: passes over the inputs.
        clock: nanoseconds.
    """
    items = list(inputs)
    if not items or warmup < 0 or repeats < 1:
        raise EvaluationError(
            f"latency of {len(items)} inputs, {warmup} warm-up calls, {repeats} repeats", "give inputs and repeats ≥ 1"
        )
    for i in range(warmup):
        call(items[i % len(items)])
    spent = np.empty(len(items) * repeats)
    for i in range(len(spent)):
        item = items[i % len(items)]
        start = clock()
        call(item)
        spent[i] = clock() - start
    median, p90, p99 = np.quantile(spent / 1e6, [0.5, 0.9, 0.99])
    return Latency(float(median), float(p90), float(p99), len(spent))


def _ends(per_entry: NDArray[Any], indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running total of the entries at each row pointer; its differences are row sums, of empty rows too."""
    total = np.concatenate([[0], np.cumsum(per_entry, dtype=np.int64)])
    return np.asarray(total[indptr], np.int64)
