"""Gold rank: where a teacher puts the documents that are known to be relevant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, quantiles


def gold_rank(scores: NDArray[np.floating], gold: NDArray[np.bool_]) -> float | None:
    """Rank (1 = best) of the best gold document, ties at their mean rank; None if no gold is among the candidates."""
    if not gold.any():
        return None
    best = float(scores[gold].max())
    above, level = int((scores > best).sum()), int((scores == best).sum())
    return above + (level + 1) / 2


def check_gold(
    lists: Sequence[NDArray[np.floating]], golds: Sequence[NDArray[np.bool_]], subject: str, limits: Limits
) -> Check:
    """How well a teacher ranks what people judged relevant.

    Args:
        lists: (N_i,) scores of each context; of an order, minus its ranks.
        golds: (N_i,) which of the candidates are relevant.
        subject: whose.
        limits: thresholds.
    """
    judged = list(zip(lists, golds, strict=True))
    ranks = [rank for scores, gold in judged if (rank := gold_rank(np.asarray(scores), np.asarray(gold))) is not None]
    if not ranks:
        return Check("gold rank", subject, 0)
    top = float(np.mean([rank <= limits.gold_top for rank in ranks]))
    figures = quantiles(ranks, median=0.5, p90=0.9) | {
        "MRR": float(np.mean([1 / rank for rank in ranks])),
        f"in_top_{limits.gold_top}": top,
        "not_among_candidates": 1 - len(ranks) / len(judged),
    }
    warnings = []
    if top < limits.gold_share:
        warnings.append(
            f"only {percent(top)} of the contexts have a relevant document in the teacher's best {limits.gold_top} → a "
            "student will hardly do better: try another teacher or prompt, or add the gold's own term to the objective"
        )
    return Check("gold rank", subject, len(ranks), figures, tuple(warnings))
