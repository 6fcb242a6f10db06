"""Intervals and tests for means over queries that come in conversations.

Turns of one conversation are not independent, so the conversation is the unit that is drawn and flipped.

*Interval*: cluster bootstrap. Draw as many conversations as there are, with replacement; the statistic is the sum over
their queries divided by the number of their queries. The percentiles of `resamples` such means bound the interval.
Differences are read from the same draws, so they are paired. With few conversations (below about 20) percentile
intervals are somewhat too narrow.

*Test*: paired randomisation. If two systems are alike, swapping their labels on a whole conversation changes nothing,
so the sign of each conversation's summed difference is flipped at random; p is the share of flips whose absolute mean
is at least the observed one. All 2^C flips are enumerated where they are no more than `resamples`, else
p = (1 + hits) / (1 + resamples).

*Several comparisons*: Holm's step-down correction, which bounds the chance of any false claim.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 · Cameron, Gelbach and Miller, "Bootstrap-Based
Improvements for Inference with Clustered Errors", 2008 · Smucker, Allan and Carterette, "A Comparison of Statistical
Significance Tests for Information Retrieval Evaluation", CIKM 2007 · Phipson and Smyth, 2010 (the added ones) ·
Holm, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import EvaluationError

RESAMPLES = 10_000
_CHUNK = 2_000_000  # entries of one block of draws


class Intervals(NamedTuple):
    """(K,) means of K columns and the bounds around them; NaN bounds where one conversation alone shows no spread."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def clusters(query_ids: Sequence[str], group: Mapping[str, str] | None) -> NDArray[np.int64]:
    """(Q,) number of each query's conversation, in the order of their names.

    Args:
        query_ids: (Q,) queries.
        group: conversation of each query; without it every query stands alone.

    Raises:
        EvaluationError: a query without a conversation.
    """
    if group is None:
        return np.arange(len(query_ids))
    unknown = [qid for qid in query_ids if qid not in group]
    if unknown:
        raise EvaluationError(
            f"{len(unknown)} of {len(query_ids)} queries belong to no conversation, first {unknown[0]!r}",
            "give the conversation of every judged query",
        )
    return np.unique([group[qid] for qid in query_ids], return_inverse=True)[1].astype(np.int64)


def bootstrap_intervals(
    values: ArrayLike,
    cluster: NDArray[np.int64],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """Percentile intervals of K means, all columns under the same draws of conversations.

    Args:
        values: (Q, K) per-query values or paired differences; a (Q,) column counts as (Q, 1).
        cluster: (Q,) conversation numbers from `clusters`.
        level: share of the draws that the interval holds.
        resamples: number of draws.
        seed: equal seeds give equal draws for equal numbers of conversations.
    """
    if not 0 < level < 1 or resamples < 1:
        raise EvaluationError(f"interval level {level} from {resamples} resamples", "use for example 0.95 and 10,000")
    sums, sizes = _sums(values, cluster)  # (C, K), (C,)
    mean, count = sums.sum(axis=0) / sizes.sum(), len(sizes)
    if count == 1:
        return Intervals(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    rng = np.random.default_rng([seed, 0])
    means = np.empty((resamples, sums.shape[1]))
    for start, size in _blocks(resamples, count):
        drawn = rng.integers(0, count, size=(size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        means[start : start + size] = (times @ sums) / (times @ sizes)[:, None]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Intervals(mean, low, high)


def sign_flip_test(
    differences: ArrayLike, cluster: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """(K,) two-sided p-values of K columns of paired differences (Q, K); a (Q,) column gives (1,)."""
    sums, sizes = _sums(differences, cluster)  # (C, K)
    # Sums that are equal on paper differ in the last bits; such ties must count as "at least as large".
    threshold = np.abs(sums.sum(axis=0)) - 1e-9 * np.abs(sums).sum(axis=0)
    count = len(sizes)
    if 1 << count <= resamples:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)  # (2^C, C)
        hits = (np.abs(signs.astype(np.float64) @ sums) >= threshold).mean(axis=0)
        return np.asarray(hits, np.float64)
    rng = np.random.default_rng([seed, 1])
    hits = np.zeros(sums.shape[1])
    for _, size in _blocks(resamples, count):
        flips = 1.0 - 2.0 * rng.integers(0, 2, size=(size, count))
        hits += (np.abs(flips @ sums) >= threshold).sum(axis=0)
    return (1 + hits) / (1 + resamples)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """(K,) p-values corrected for K comparisons, in the order given."""
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise EvaluationError(f"{p.tolist()} are not p-values", "give a list of numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def _sums(values: ArrayLike, cluster: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != len(cluster) or not len(table):
        raise EvaluationError(
            f"values of shape {table.shape} for {len(cluster)} queries", "give one row of values for each query"
        )
    if not np.isfinite(table).all():
        raise EvaluationError("a per-query value is not a finite number", "look for NaN in the scores")
    sizes = np.bincount(cluster).astype(np.float64)
    sums = np.zeros((len(sizes), table.shape[1]))
    np.add.at(sums, cluster, table)
    return sums[sizes > 0], sizes[sizes > 0]


def _blocks(resamples: int, count: int) -> list[tuple[int, int]]:
    size = max(1, _CHUNK // count)
    return [(start, min(size, resamples - start)) for start in range(0, resamples, size)]
