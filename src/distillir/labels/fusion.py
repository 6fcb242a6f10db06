"""Several teachers as one.

Teachers score with one frozen document encoder, so a linear fusion of their scores is the score of the
same fusion of their vectors: only weights are needed here. Maximum and minimum need the scores themselves.

T teachers, B contexts, N candidates of a context.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from distillir.errors import LabelError

Scores = npt.NDArray[np.floating]
Rule = Literal["linear", "max", "min"]


def mean_weights(teachers: Iterable[str]) -> dict[str, float]:
    """The same weight for each teacher, 1 in all."""
    names = list(dict.fromkeys(teachers))
    return dict.fromkeys(names, 1 / len(names)) if names else {}


@dataclass(frozen=True)
class FusionPlan:
    """How much each teacher counts.

    Attributes:
        weights: teacher -> weight of 0 or more, on any scale. A context is taught by those it has labels of,
            their weights scaled to 1 in all: one that lacks the model's rewrite falls back to the human's.
        rule: "linear" is a vector as well; "max" and "min" are of scores only, and read no more of a weight than
            whether it is above 0.

    Raises:
        LabelError: no teacher, a negative weight, all weights 0, or an unknown rule.
    """

    weights: Mapping[str, float]
    rule: Rule = "linear"

    def __post_init__(self) -> None:
        given = self.weights.values()
        if not all(isfinite(weight) and weight >= 0 for weight in given) or not sum(given) > 0:
            raise LabelError(f"fusion weights {dict(self.weights)}", "give weights of 0 or more, one of them above 0")
        if self.rule not in get_args(Rule):
            raise LabelError(f"fusion rule {self.rule!r}", f"rules are {', '.join(get_args(Rule))}")

    def weights_for(
        self, available: Collection[str], confidence: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Weights of the teachers a context has, 1 in all; {} if none of them counts.

        Args:
            available: teachers the context has labels of.
            confidence: teacher -> factor of 0 or more for this context (see `labels.confidence`), 1 where none is
                given. Factors that leave nothing are not followed.
        """
        present = {name: weight for name, weight in self.weights.items() if weight > 0 and name in available}
        if confidence is not None:
            factors = {name: confidence.get(name, 1.0) for name in present}
            if not all(isfinite(factor) and factor >= 0 for factor in factors.values()):
                raise LabelError(f"confidence {factors}", "give finite factors of 0 or more")
            trusted = {name: weight * factors[name] for name, weight in present.items() if factors[name] > 0}
            present = trusted or present
        total = sum(present.values())
        return {name: weight / total for name, weight in present.items()}

    def matrix(
        self, available: Sequence[Collection[str]], confidence: Sequence[Mapping[str, float]] | None = None
    ) -> npt.NDArray[np.float64]:
        """(B, T) weights by context and teacher, in the order of `weights`; a row sums to 1, without teachers to 0."""
        trust = [None] * len(available) if confidence is None else confidence
        rows = [self.weights_for(names, one) for names, one in zip(available, trust, strict=True)]
        table = [[row.get(name, 0.0) for name in self.weights] for row in rows]
        return np.array(table, dtype=np.float64).reshape(len(rows), len(self.weights))


def fuse_scores(
    scores: Sequence[Scores | None],
    plan: FusionPlan,
    *,
    present: npt.NDArray[np.bool_] | None = None,
    confidence: Sequence[Mapping[str, float]] | None = None,
) -> Scores:
    """(B, N) scores of the fused teacher, by the plan's rule.

    All teachers' scores must be on one scale, as they are where one frozen encoder makes them.

    Args:
        scores: one (B, N) array a teacher, in the order of `plan.weights`; None for a teacher without any.
        plan: weights and rule. A teacher of weight 0 is not read.
        present: (T, B) whether a context has the teacher; None = all that are given have all contexts.
        confidence: of each context, see `FusionPlan.weights_for`; for the linear rule only.

    Raises:
        LabelError: another number of arrays than of weights, unequal shapes, confidence with max or min, or a
            context that none of the plan's teachers has.
    """
    shapes = {one.shape for one in scores if one is not None}
    if len(scores) != len(plan.weights) or len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise LabelError(
            f"{len(scores)} score arrays of shapes {sorted(shapes)} for {len(plan.weights)} teachers",
            "give one (contexts, candidates) array a teacher, in the order of the weights",
        )
    shape = shapes.pop()
    counted = np.array(
        [weight > 0 and one is not None for weight, one in zip(plan.weights.values(), scores, strict=True)]
    )
    have = np.broadcast_to(counted[:, None], (len(scores), shape[0])) & (True if present is None else present)
    _some(have)
    stacked = np.stack([np.zeros(shape) if one is None else one for one in scores])
    if plan.rule == "linear":
        names = list(plan.weights)
        available = [[names[t] for t in np.flatnonzero(column)] for column in have.T]
        return fuse_linear(stacked, plan.matrix(available, confidence))
    if confidence is not None:
        raise LabelError(f"confidence with the rule {plan.rule!r}", "it weighs teachers: use the linear rule")
    return (fuse_max if plan.rule == "max" else fuse_min)(stacked, have)


def fuse_linear(scores: Scores, weights: npt.NDArray[np.floating]) -> Scores:
    """(B, N) weighted sum of scores (T, B, N) by weights (B, T); scores of weight 0 are not read and may be NaN."""
    return np.asarray(np.einsum("bt,tbn->bn", weights, np.where(weights.T[:, :, None] > 0, scores, 0)))


def fuse_max(scores: Scores, present: npt.NDArray[np.bool_]) -> Scores:
    """(B, N) best score (T, B, N) among the teachers a context has, present (T, B); every context needs one."""
    return np.asarray(np.where(_some(present), scores, -np.inf).max(axis=0))


def fuse_min(scores: Scores, present: npt.NDArray[np.bool_]) -> Scores:
    """(B, N) worst score (T, B, N) among the teachers a context has, present (T, B); every context needs one."""
    return np.asarray(np.where(_some(present), scores, np.inf).min(axis=0))


def _some(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    without = np.flatnonzero(~present.any(axis=0))
    if len(without):
        raise LabelError(f"context {without[0]} of the batch has no teacher", "leave contexts without labels out")
    return present[:, :, None]
