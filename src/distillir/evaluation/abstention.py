"""When to say nothing: the threshold below which an answer is withheld, calibrated on held-out contexts.

Risk is the share of wrong answers among those given, coverage the share of contexts that get one (El-Yaniv and Wiener,
"On the foundations of noise-free selective classification", JMLR 2010).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import EvaluationError


@dataclass(frozen=True)
class RiskCoverage:
    """Coverage and risk at every threshold that makes a difference, the strictest first.

    Attributes:
        thresholds: (T,) descending; an answer is given where its score is at least that.
        coverage: (T,) share of contexts with an answer. risk: (T,) share of wrong ones among those.
        contexts: how many it was measured on.
    """

    thresholds: NDArray[np.float64]
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    contexts: int

    @property
    def area(self) -> float:
        """Mean risk over the number of contexts answered, best scores first; 0 is best, ties count as one step."""
        steps = np.diff(self.coverage, prepend=0.0)
        return float((self.risk * steps).sum())

    def threshold_for_risk(self, most: float) -> float:
        """The lowest threshold at which the risk is at most that; infinity where there is none: never answer.

        Raises:
            EvaluationError: a risk outside 0 … 1.
        """
        self._check_share("risk", most)
        fine = np.flatnonzero(self.risk <= most)
        return float(self.thresholds[fine[-1]]) if len(fine) else math.inf

    def threshold_for_coverage(self, least: float) -> float:
        """The highest threshold at which at least that share of contexts is answered.

        Raises:
            EvaluationError: a coverage outside 0 … 1.
        """
        self._check_share("coverage", least)
        return float(self.thresholds[int(np.argmax(self.coverage >= least - 1e-12))])

    def at(self, threshold: float) -> tuple[float, float]:
        """Coverage and risk under a threshold; the risk of answering nothing is 0."""
        answered = int((self.thresholds >= threshold).sum())
        return (float(self.coverage[answered - 1]), float(self.risk[answered - 1])) if answered else (0.0, 0.0)

    def rows(self, shares: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)) -> list[dict[str, float]]:
        """Threshold, coverage and risk where these shares of contexts are answered."""
        found = []
        for share in shares:
            threshold = self.threshold_for_coverage(share)
            coverage, risk = self.at(threshold)
            found.append({"threshold": threshold, "coverage": coverage, "risk": risk})
        return found

    @staticmethod
    def _check_share(name: str, value: float) -> None:
        if not 0 <= value <= 1:
            raise EvaluationError(f"a {name} of {value}", "give a number from 0 to 1")


def risk_coverage(scores: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """The curve of the best answer's score in each context and whether it was right.

    Args:
        scores: (Q,) finite.
        correct: (Q,) bool.

    Raises:
        EvaluationError: nothing, other lengths, or scores that are not finite.
    """
    values, right = np.asarray(scores, np.float64), np.asarray(correct, bool)
    if values.ndim != 1 or values.shape != right.shape or not len(values):
        raise EvaluationError(
            f"{values.shape} scores and {right.shape} verdicts", "give one of each a context, and at least one context"
        )
    if not np.isfinite(values).all():
        raise EvaluationError("a score is not finite", "leave out contexts without an answer, or check the student")
    order = np.argsort(-values, kind="stable")
    wrong = np.cumsum(~right[order])
    answered = np.arange(1, len(values) + 1)
    last = np.append(np.diff(values[order]) != 0, True)  # equal scores cannot be told apart by a threshold
    return RiskCoverage(
        values[order][last], (answered / len(values))[last], (wrong / answered)[last], contexts=len(values)
    )
