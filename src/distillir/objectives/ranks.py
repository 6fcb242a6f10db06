"""An order becomes scores only by a rule with a name: what a rank is worth is no part of an order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distillir.errors import ObjectiveError


def negative_rank(rank: Tensor, length: Tensor) -> Tensor:
    """−r: neighbours differ by 1 wherever they stand."""
    return -rank


def linear(rank: Tensor, length: Tensor) -> Tensor:
    """1 − (r − 1)/(n − 1): from 1 down to 0, whatever the length n."""
    return 1 - (rank - 1) / (length - 1).clamp(min=1)


def reciprocal(rank: Tensor, length: Tensor) -> Tensor:
    """1/r: the head counts, the tail hardly."""
    return 1 / rank


def discount(rank: Tensor, length: Tensor) -> Tensor:
    """1/log₂(r + 1): the discount of nDCG."""
    return 1 / torch.log2(rank + 1)


RANK_TO_SCORE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "negative_rank": negative_rank,
    "linear": linear,
    "reciprocal": reciprocal,
    "discount": discount,
}


def rank_to_score(order: Tensor, rule: str) -> Tensor:
    """Scores of an order, so that objectives over scores can read it.

    Args:
        order: (B, N) int64 teacher ranks, 0 = best, −1 where unranked.
        rule: of `RANK_TO_SCORE`, on ranks r from 1 on and the number n of ranked candidates.

    Returns:
        (B, N) float32, NaN where unranked: such a candidate has no score, and objectives refuse it.

    Raises:
        ObjectiveError: an unknown rule.
    """
    if rule not in RANK_TO_SCORE:
        raise ObjectiveError(f"no rule {rule!r} from ranks to scores", f"use one of {', '.join(RANK_TO_SCORE)}")
    ranked = order >= 0
    rank = (order.clamp(min=0) + 1).float()
    scores = RANK_TO_SCORE[rule](rank, ranked.sum(1, keepdim=True).float())
    return scores.masked_fill(~ranked, torch.nan)
