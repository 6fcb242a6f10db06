"""Teacher weights fitted on training contexts whose relevant documents are known.

Criterion: the mean log-likelihood of the relevant documents under softmax(Σ_t w_t·s_t) over each context's
candidates, w ≥ 0, less `ridge`·|w|² (scores divided by their common spread). It is concave, so the fit is unique and
repeatable. What is returned sums to 1; the scale that the fit found is 1/τ, which a student's temperature replaces.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillir.errors import LabelError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FittedWeights:
    """Weights and what they are worth on the contexts they were fitted on.

    Attributes:
        weights: teacher -> weight, 1 in all.
        tau: temperature of the fitted softmax for the weighted scores.
        loss: mean −log P of the relevant documents.
        equal: the same for equal weights at their own best temperature.
        alone: teacher -> the same for it alone, at its own best temperature.
        contexts: fitted on.
        left_out: reason -> contexts not used.
    """

    weights: dict[str, float]
    tau: float
    loss: float
    equal: float
    alone: dict[str, float]
    contexts: int
    left_out: dict[str, int]


def fit_weights(
    scores: Mapping[str, Sequence[NDArray[np.floating] | None]],
    gold: Sequence[NDArray[np.bool_]],
    *,
    ridge: float = 1e-3,
    rows: Sequence[int] | None = None,
) -> FittedWeights:
    """Fit non-negative weights of teachers by the criterion above.

    Args:
        scores: teacher -> one (N_i,) array a context, over the same candidates for all teachers; None where the
            teacher has no label. Such contexts are left out: they say nothing about the weights between all.
        gold: (N_i,) whether a candidate is relevant. Contexts with none, or with nothing else, are left out.
        ridge: keeps weights finite where the teachers never err, and pulls them to each other where data is short.
        rows: contexts to fit on, None = all: the training part of a fold.

    Raises:
        LabelError: unequal lengths, a score that is not finite, or no context left.
    """
    names = list(scores)
    if not names or any(len(scores[name]) != len(gold) for name in names):
        raise LabelError(
            f"{ {name: len(scores[name]) for name in names} } score lists for {len(gold)} contexts",
            "give one a context",
        )
    lists, left_out = _usable(scores, gold, range(len(gold)) if rows is None else rows)
    if not lists:
        raise LabelError(f"no context to fit weights on: {left_out}", "give contexts with judged candidates")
    spread = float(np.mean([one.std(axis=1).mean() for one, _ in lists])) or 1.0
    scaled = [(one / spread, positive) for one, positive in lists]
    found, loss = _fit(scaled, ridge)
    total = float(found.sum())
    if total == 0:  # no teacher is better than chance
        found, total = np.ones(len(names)), float(len(names))
    alone = {name: _fit([(one[t : t + 1], p) for one, p in scaled], ridge)[1] for t, name in enumerate(names)}
    equal = _fit([(one.mean(axis=0, keepdims=True), p) for one, p in scaled], ridge)[1]
    weights = {name: float(weight / total) for name, weight in zip(names, found, strict=True)}
    return FittedWeights(weights, spread / total, loss, equal, alone, len(lists), left_out)


def fit_by_fold(
    scores: Mapping[str, Sequence[NDArray[np.floating] | None]],
    gold: Sequence[NDArray[np.bool_]],
    folds: Sequence[Hashable],
    *,
    ridge: float = 1e-3,
) -> dict[Hashable, FittedWeights]:
    """Fold -> weights fitted on all contexts of the other folds, so no context is weighed by its own judgements.

    Args:
        scores: as `fit_weights`.
        gold: as `fit_weights`.
        folds: fold of each context; keep a conversation in one.
        ridge: as `fit_weights`.
    """
    return {
        fold: fit_weights(scores, gold, ridge=ridge, rows=[i for i, other in enumerate(folds) if other != fold])
        for fold in dict.fromkeys(folds)
    }


def _usable(
    scores: Mapping[str, Sequence[NDArray[np.floating] | None]], gold: Sequence[NDArray[np.bool_]], rows: Sequence[int]
) -> tuple[list[tuple[Floats, NDArray[np.bool_]]], dict[str, int]]:
    """(T, N) scores and (N,) gold of the contexts that can be fitted on."""
    lists, left_out = [], {"a teacher has no label": 0, "nothing to tell apart": 0}
    for i in rows:
        given = [one[i] for one in scores.values()]
        positive = np.asarray(gold[i], bool)
        if any(one is None for one in given):
            left_out["a teacher has no label"] += 1
            continue
        if not positive.any() or positive.all():
            left_out["nothing to tell apart"] += 1
            continue
        if any(one is not None and one.shape != positive.shape for one in given):
            raise LabelError(f"context {i}: scores and judgements of unequal lengths", "give all one candidate list")
        table = np.stack([np.asarray(one, np.float64) for one in given])
        if not np.isfinite(table).all():
            raise LabelError(f"context {i} has a score that is not finite", "give finite scores")
        lists.append((table, positive))
    return lists, left_out


def _fit(lists: Sequence[tuple[Floats, NDArray[np.bool_]]], ridge: float) -> tuple[Floats, float]:
    """Weights (T,) and mean −log P of the relevant documents."""
    from scipy.optimize import minimize

    def loss(w: Floats) -> tuple[float, Floats]:
        value, slope = 0.0, np.zeros_like(w)
        for table, positive in lists:
            fused = w @ table
            exponentials = np.exp(fused - fused.max())
            log_sum = float(fused.max() + np.log(exponentials.sum()))
            value += log_sum - float(fused[positive].mean())
            slope += table @ (exponentials / exponentials.sum()) - table[:, positive].mean(axis=1)
        return value / len(lists) + ridge * float(w @ w), slope / len(lists) + 2 * ridge * w

    teachers = len(lists[0][0])
    start = np.full(teachers, 1.0 / teachers)
    options = {"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8}
    found = minimize(  # type: ignore[call-overload]
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * teachers, options=options
    )
    w = np.asarray(found.x, np.float64)
    return w, loss(w)[0] - ridge * float(w @ w)
