"""How far to trust each teacher on one context: factors for `FusionPlan.weights_for`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, isfinite
from typing import TypeVar

import numpy as np

from distillir.errors import LabelError
from distillir.labels.words import token_f1
from distillir.vectors import CSR

LEAST = 0.05  # of an agreement, so that a teacher alone against the others is doubted and not silenced
T = TypeVar("T")


def likelihood_confidence(mean_log_prob: float) -> float:
    """exp(mean log P of a reply's tokens): their geometric mean probability, in (0, 1].

    Teachers are compared by it only where they share a tokenizer: a reply of many small tokens looks surer.

    Raises:
        LabelError: above 0 or not a number.
    """
    if not (isfinite(mean_log_prob) and mean_log_prob <= 0):
        raise LabelError(f"a mean log probability of {mean_log_prob}", "give natural logarithms, 0 or less")
    return exp(mean_log_prob)


def text_agreement(rewrites: Mapping[str, str]) -> dict[str, float]:
    """Teacher -> mean token F1 of its rewrite with the other teachers' of the same context, at least .05; alone 1.

    The consensus of minimum Bayes risk decoding: what most teachers said is trusted most. Two teachers always agree
    equally with each other, so three are needed for it to matter.
    """
    return _mean_with_others(rewrites, token_f1)


def vector_agreement(vectors: Mapping[str, CSR], row: int) -> dict[str, float]:
    """Teacher -> mean cosine of its vector of context `row` with the other teachers', as `text_agreement`.

    Teachers whose row is empty are left out.
    """
    rows = {name: one.row(row) for name, one in vectors.items()}
    return _mean_with_others({name: pair for name, pair in rows.items() if len(pair[0])}, _cosine)


def _mean_with_others(given: Mapping[str, T], likeness: Callable[[T, T], float]) -> dict[str, float]:
    means = {}
    for name, one in given.items():
        others = [likeness(one, other) for who, other in given.items() if who != name]
        means[name] = max(LEAST, sum(others) / len(others)) if others else 1.0
    return means


def _cosine(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    _, left, right = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    dot = float(one[1][left].astype(np.float64) @ other[1][right].astype(np.float64))
    return dot / (float(np.linalg.norm(one[1])) * float(np.linalg.norm(other[1])))
