"""Several teachers as one.

Teachers score with one frozen document encoder, so a linear fusion of their scores is the score of the
same fusion of their vectors: only weights are needed here. Maximum and minimum need the scores themselves.

T teachers, B contexts, N candidates of a context.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from distillir.errors import LabelError

Scores = npt.NDArray[np.floating]


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

    Raises:
        LabelError: no teacher, a negative weight, or all weights 0.
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        given = self.weights.values()
        if not all(isfinite(weight) and weight >= 0 for weight in given) or not sum(given) > 0:
            raise LabelError(f"fusion weights {dict(self.weights)}", "give weights of 0 or more, one of them above 0")

    def weights_for(self, available: Collection[str]) -> dict[str, float]:
        """Weights of the teachers a context has, 1 in all; {} if none of them counts."""
        present = {name: weight for name, weight in self.weights.items() if weight > 0 and name in available}
        total = sum(present.values())
        return {name: weight / total for name, weight in present.items()}

    def matrix(self, available: Sequence[Collection[str]]) -> npt.NDArray[np.float64]:
        """(B, T) weights by context and teacher, in the order of `weights`; a row sums to 1, without teachers to 0."""
        rows = [self.weights_for(names) for names in available]
        table = [[row.get(name, 0.0) for name in self.weights] for row in rows]
        return np.array(table, dtype=np.float64).reshape(len(rows), len(self.weights))


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
