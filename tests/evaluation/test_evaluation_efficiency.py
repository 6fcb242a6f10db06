"""Active dimensions, flops@corpus, postings and latency."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import EvaluationError
from distillir.evaluation import (
    CorpusFlops,
    Latency,
    active_dims,
    flops_at_corpus,
    flops_over_corpora,
    flops_per_query,
    measure_latency,
    postings_touched,
)
from distillir.vectors import CSR


def csr(dense):
    dense = np.asarray(dense, np.float32)
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    return CSR(indptr.astype(np.int64), columns.astype(np.int32), dense[rows, columns])


def test_by_hand():
    queries = csr([[1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 1, 1]])
    frequency = np.array([10, 4, 1, 0])  # of 20 documents
    assert active_dims(queries).tolist() == [2, 0, 3]
    assert postings_touched(queries, frequency).tolist() == [11, 0, 5]
    assert flops_per_query(queries, frequency, 20).tolist() == pytest.approx([0.55, 0, 0.25])
    got = flops_at_corpus(queries, frequency, 20, corpus="toy")
    assert got == CorpusFlops("toy", pytest.approx(0.8 / 3), 3)


def test_a_stored_zero_is_not_active():
    queries = CSR(np.array([0, 2, 3]), np.array([0, 1, 1], np.int32), np.array([0.0, 2.0, 0.0], np.float32))
    assert active_dims(queries).tolist() == [1, 0]
    assert postings_touched(queries, np.array([5, 7])).tolist() == [7, 0]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_mean_per_query_is_the_published_product_of_shares(data):
    vocabulary = data.draw(st.integers(1, 8))

    def matrix(rows):
        weights = st.sampled_from([0.0, 0.0, 0.5, 2.0])
        return np.array(data.draw(st.lists(st.lists(weights, min_size=vocabulary, max_size=vocabulary), **rows)))

    queries, documents = matrix({"min_size": 1, "max_size": 6}), matrix({"min_size": 1, "max_size": 9})
    frequency = (documents != 0).sum(axis=0)
    published = ((queries != 0).mean(axis=0) * (documents != 0).mean(axis=0)).sum()
    got = flops_at_corpus(csr(queries), frequency, len(documents), corpus="drawn")
    assert got.flops == pytest.approx(published)
    pairs = (queries[:, None, :] != 0) & (documents[None, :, :] != 0)
    assert got.flops == pytest.approx(pairs.sum(axis=2).mean())  # multiplications of a query and a document


def test_corpora_are_weighted_by_queries():
    assert flops_over_corpora([CorpusFlops("a", 1.0, 30), CorpusFlops("b", 4.0, 10)]) == pytest.approx(1.75)
    with pytest.raises(EvaluationError, match="no corpus"):
        flops_over_corpora([])


def test_large_counts_do_not_overflow():
    queries = CSR(np.array([0, 3]), np.arange(3, dtype=np.int32), np.ones(3, np.float32))
    frequency = np.full(3, 2_000_000_000, np.int32)
    assert postings_touched(queries, frequency).tolist() == [6_000_000_000]


def test_refusals():
    queries = csr([[0, 0, 1]])
    with pytest.raises(EvaluationError, match="dimension 2, the documents have 2"):
        postings_touched(queries, np.array([1, 1]))
    for wrong in (np.ones((1, 3), int), np.ones(3), np.array([1, 1, -1])):
        with pytest.raises(EvaluationError, match="document frequencies"):
            postings_touched(queries, wrong)
    with pytest.raises(EvaluationError, match="frequency of 9 in a collection of 8"):
        flops_per_query(queries, np.array([9, 0, 0]), 8)
    with pytest.raises(EvaluationError, match="collection of 0"):
        flops_per_query(queries, np.zeros(3, int), 0)
    with pytest.raises(EvaluationError, match="no query"):
        flops_at_corpus(csr(np.zeros((0, 3))), np.ones(3, int), 4, corpus="toy")


def test_latency_counts_only_timed_calls():
    now, calls = [0], []

    def call(milliseconds):
        calls.append(milliseconds)
        now[0] += milliseconds * 1_000_000

    got = measure_latency(call, [1, 2, 3, 4, 5], warmup=7, repeats=2, clock=lambda: now[0])
    assert calls == [1, 2, 3, 4, 5, 1, 2] + [1, 2, 3, 4, 5] * 2
    assert got == Latency(3.0, pytest.approx(5.0), pytest.approx(5.0), 10)
    ramp = measure_latency(call, range(101), warmup=0, clock=lambda: now[0])
    assert ramp == Latency(50.0, pytest.approx(90.0), pytest.approx(99.0), 101)


@pytest.mark.parametrize("wrong", [{"inputs": []}, {"warmup": -1}, {"repeats": 0}])
def test_latency_of_nothing_is_refused(wrong):
    with pytest.raises(EvaluationError, match="latency"):
        measure_latency(str, **{"inputs": [1], **wrong})


def test_latency_takes_a_generator_and_the_real_clock():
    got = measure_latency(sum, ([i] * 50 for i in range(3)), warmup=1, repeats=4)
    assert got.n == 12
    assert 0 < got.median_ms <= got.p90_ms <= got.p99_ms < 1000
