"""Shorter vectors: the n largest weights, or those near the largest one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distillir.errors import ConfigError
from distillir.vectors import CSR


def prune_terms(weights: Mapping[str, float], top: int | None = None, ratio: float | None = None) -> dict[str, float]:
    """The terms that are kept, largest weight first; equal weights by term.

    Args:
        weights: term → weight, none negative.
        top: keep so many.
        ratio: keep weights of at least this share of the largest; with `top`, both hold.

    Raises:
        ConfigError: top below 1, ratio outside (0, 1].
    """
    check_limits(top, ratio)
    best_first = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    least = 0.0 if ratio is None or not best_first else ratio * best_first[0][1]
    return {term: weight for term, weight in best_first if weight >= least}


def prune_rows(rows: CSR, top: int | None = None, ratio: float | None = None) -> CSR:
    """The same of every row; equal weights by dimension, smallest first."""
    check_limits(top, ratio)
    row = np.repeat(np.arange(rows.rows), np.diff(rows.indptr))
    keep = np.ones(len(rows.values), bool)
    if top is not None:
        order = np.lexsort((rows.indices, -rows.values, row))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - rows.indptr[row]  # sorted by row first: rows stay where they are
        keep &= rank < top
    if ratio is not None:
        largest = np.zeros(rows.rows, np.float32)
        np.maximum.at(largest, row, rows.values)
        keep &= rows.values >= np.float32(ratio) * largest[row]
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep, dtype=np.int64)])
    return CSR(kept[rows.indptr], rows.indices[keep], rows.values[keep])


def check_limits(top: int | None, ratio: float | None) -> None:
    """Refuse limits that keep nothing."""
    if top is not None and top < 1:
        raise ConfigError(f"top is {top}", "keep at least one term")
    if ratio is not None and not 0 < ratio <= 1:
        raise ConfigError(f"ratio is {ratio}", "use a share above 0, up to 1")
