"""How likely the student's hits are right, from their scores alone; calibrated on held-out contexts.

p = σ(w·x + b), x = (margin, spread, entropy) of the best scores, standardised; w by logistic regression with a small
ridge. The threshold below which the language model is asked comes from the curve of risk and coverage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import DataError, EvaluationError
from distillir.evaluation import risk_coverage
from distillir.vectors.files import write_json

DEPTH = 10  # scores that are looked at
RIDGE = 1.0
FILE = "confidence.json"


@dataclass(frozen=True)
class Confidence:
    """A calibrated confidence.

    Attributes:
        model: version of the student whose scores it was fitted on.
        weights, bias: of the standardised features. mean, scale: that standardise them.
        threshold: below it, hits are not trusted.
        risk, coverage: share of wrong contexts among the trusted ones, and share of trusted ones, on held-out folds.
        contexts: it was fitted on.
        curve: threshold, coverage and risk at some shares.
    """

    model: str
    weights: tuple[float, ...]
    bias: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    threshold: float
    risk: float
    coverage: float
    contexts: int
    curve: tuple[dict[str, float], ...]

    def of(self, scores: Sequence[float]) -> float:
        """Confidence in hits of these scores, best first: 0 … 1, 0 without hits."""
        if not scores:
            return 0.0
        x = (features(scores) - np.asarray(self.mean)) / np.asarray(self.scale)
        return float(_sigmoid(x @ np.asarray(self.weights) + self.bias))

    def save(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    @classmethod
    def open(cls, path: Path) -> Confidence:
        """What `save` wrote.

        Raises:
            DataError: another file, or a damaged one.
        """
        try:
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            rows = {name: tuple(kept[name]) for name in ("weights", "mean", "scale", "curve")}
            return cls(**(kept | rows))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(path, f"no calibration ({error})", cure="run `distillir shadow calibrate` again") from error


def features(scores: Sequence[float]) -> NDArray[np.float64]:
    """(3,) margin (s₁ − s₂)/s₁, spread (s₁ − mean of the rest)/s₁, and entropy of s/Σs by its maximum; scores > 0."""
    top = np.asarray(scores[:DEPTH], np.float64)
    best, rest = top[0], top[1:] if len(top) > 1 else np.zeros(1)
    share = top / top.sum()
    entropy = float(-(share * np.log(share)).sum() / math.log(len(top))) if len(top) > 1 else 0.0
    return np.array([(best - rest[0]) / best, (best - rest.mean()) / best, entropy])


def calibrate(
    scores: Sequence[Sequence[float]],
    correct: Sequence[bool],
    groups: Sequence[str],
    risk: float,
    model: str,
) -> Confidence:
    """Fit a confidence.

    Args:
        scores: of each context's hits, best first.
        correct: whether its hits are right.
        groups: conversation of each; the threshold is chosen on confidences of conversations that were not fitted on.
        risk: share of wrong contexts among the trusted ones that is accepted.
        model: version of the student.

    Raises:
        EvaluationError: too few contexts, all of them right or all wrong, or a context without hits only.
    """
    kept = [i for i, own in enumerate(scores) if own]
    right = np.array([correct[i] for i in kept], bool)
    if len(kept) < 20 or right.all() or not right.any():
        raise EvaluationError(
            f"{len(kept)} contexts with hits, {int(right.sum())} of them right: nothing to calibrate by",
            "give at least 20 judged contexts, of which the student gets some right and some wrong",
        )
    x = np.stack([features(scores[i]) for i in kept])
    names = sorted({groups[i] for i in kept})
    fold = np.array([names.index(groups[i]) % 2 for i in kept])
    held = np.empty(len(kept))
    for part in (0, 1):
        inside, outside = fold == part, fold != part
        if not inside.any() or not outside.any():
            raise EvaluationError("all contexts are of one conversation", "give contexts of several")
        held[inside] = _fit(x[outside], right[outside])(x[inside])
    # A context without hits has confidence 0 and is wrong.
    without = np.zeros(len(scores) - len(kept))
    curve = risk_coverage(np.append(held, without), np.append(right, without.astype(bool)))
    threshold = curve.threshold_for_risk(risk)
    coverage, reached = curve.at(threshold)
    model_of = _fit(x, right)
    return Confidence(
        model,
        tuple(model_of.weights.tolist()),
        model_of.bias,
        tuple(model_of.mean.tolist()),
        tuple(model_of.scale.tolist()),
        min(threshold, 2.0),  # 2: above every confidence, so nothing is trusted; JSON has no infinity
        reached,
        coverage,
        len(scores),
        tuple(curve.rows()),
    )


@dataclass(frozen=True)
class _Logistic:
    weights: NDArray[np.float64]
    bias: float
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        made: NDArray[np.float64] = _sigmoid((x - self.mean) / self.scale @ self.weights + self.bias)
        return made


def _fit(x: NDArray[np.float64], right: NDArray[np.bool_]) -> _Logistic:
    """Newton's method; the ridge keeps separable data from running away, the bias is free."""
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-9)
    design = np.column_stack([(x - mean) / scale, np.ones(len(x))])  # (n, 4)
    ridge = np.diag([RIDGE] * x.shape[1] + [1e-6])
    w = np.zeros(design.shape[1])
    for _ in range(25):
        p = _sigmoid(design @ w)
        gradient = design.T @ (p - right) + ridge @ w
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + ridge
        step = np.linalg.solve(curvature, gradient)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    return _Logistic(w[:-1], float(w[-1]), mean, scale)


def _sigmoid(z: ArrayLike) -> Any:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))
