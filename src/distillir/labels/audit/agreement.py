"""Agreement between teachers: words of their rewrites, ranks of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from distillir.errors import LabelError
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check
from distillir.labels.words import token_f1, words

TOP = 10


def check_text_agreement(rewrites: Mapping[str, Mapping[str, str]], limits: Limits) -> list[Check]:
    """One check a pair of teachers: token F1 on the contexts both have."""
    checks = []
    for one, other in combinations(rewrites, 2):
        common = [name for name in rewrites[one] if name in rewrites[other]]
        pairs = [(rewrites[one][name], rewrites[other][name]) for name in common]
        if not pairs:
            continue
        overlap = float(np.mean([token_f1(a, b) for a, b in pairs]))
        same = float(np.mean([words(a) == words(b) for a, b in pairs]))
        warnings = []
        if overlap < limits.least_overlap:
            warnings.append(f"their rewrites share few words (F1 {overlap:.2f}) → see whether one answers or drifts")
        if overlap > limits.most_overlap:
            warnings.append(f"their rewrites are nearly the same (F1 {overlap:.2f}) → fusing them gains nothing")
        figures = {"token_f1": overlap, "identical": same}
        checks.append(Check("agreement", f"{one} and {other}", len(pairs), figures, tuple(warnings)))
    return checks


def check_score_agreement(scores: Mapping[str, Sequence[NDArray[np.floating]]], limits: Limits) -> list[Check]:
    """One check a pair of teachers: mean Spearman correlation, and how many of each other's best ten they share.

    Args:
        scores: teacher -> one (N_i,) array a context, all over the same candidates. Constant lists have no correlation.
        limits: thresholds.
    """
    checks = []
    for one, other in combinations(scores, 2):
        if [len(a) for a in scores[one]] != [len(b) for b in scores[other]]:
            raise LabelError(f"score lists of {one!r} and {other!r} differ in length", "score the same candidates")
        pairs = [(a, b) for a, b in zip(scores[one], scores[other], strict=True) if len(a) > 1]
        found = [value for a, b in pairs if (value := spearman(a, b)) is not None]
        if not found:
            continue
        rank = float(np.mean(found))
        figures = {"spearman": rank, f"shared_top_{TOP}": float(np.mean([_shared_top(a, b) for a, b in pairs]))}
        warnings = []
        if rank < limits.least_rank_agreement:
            warnings.append(f"their ranks hardly agree (Spearman {rank:.2f}) → see which of them ranks the gold well")
        checks.append(Check("agreement of scores", f"{one} and {other}", len(pairs), figures, tuple(warnings)))
    return checks


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float | None:
    """Rank correlation of two score lists, ties at their mean rank; None if one is constant."""
    x, y = mean_ranks(a), mean_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else None


def mean_ranks(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 0 = lowest, ties at the mean of their ranks."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - counts + (counts - 1) / 2)[place], np.float64)


def _shared_top(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    k = min(TOP, len(a))
    best = [set(np.argsort(-one, kind="stable")[:k].tolist()) for one in (a, b)]
    return len(best[0] & best[1]) / k
