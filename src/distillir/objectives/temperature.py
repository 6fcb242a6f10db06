"""A temperature from the teacher's own spread: the one at which it holds a given number of documents.

The effective number of documents of a distribution is exp(entropy): 1 when one document has all the mass, n when n
share it equally. Teachers differ in scale by orders of magnitude, so a τ fixed for one drowns the next in its tail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distillir.errors import ObjectiveError
from distillir.objectives._lists import LOWEST

_STEPS = 36  # of a range of e^25, to a relative 4e-10
_MARGIN = 0.05


def effective_documents(scores: Tensor, mask: Tensor, tau: Tensor | float, copies: Tensor | None = None) -> Tensor:
    """exp(entropy) of softmax(scores/τ) over the real candidates of each row.

    Args:
        scores: (B, N).
        mask: (B, N) bool.
        tau: one temperature, or (B, 1).
        copies: (B, N) number of candidates each entry stands for; None = one.

    Returns:
        (B,).
    """
    log_copies = torch.zeros_like(scores) if copies is None else copies.clamp(min=1).log().to(scores.dtype)
    log_p = torch.log_softmax((scores / tau + log_copies).masked_fill(~mask, LOWEST), dim=1)
    return torch.exp(-(log_p.exp() * (log_p - log_copies)).masked_fill(~mask, 0.0).sum(1))


def entropy_temperature(scores: Tensor, mask: Tensor, target: float, copies: Tensor | None = None) -> Tensor:
    """The τ of each row at which its softmax has `target` effective documents, by bisection on log τ.

    A row of n candidates with k equal best ones can have k < documents < n, so the target is first brought into
    [k·(n/k)^.05, n·(k/n)^.05]: short lists get a flat target instead of an endless temperature. Rows of fewer than two
    candidates get 1.

    Args:
        scores: (B, N) teacher scores.
        mask: (B, N) bool.
        target: effective number of documents, above 1.
        copies: (B, N) number of candidates each entry stands for; None = one.

    Returns:
        (B,) temperatures, without gradient.

    Raises:
        ObjectiveError: some rows are constant, where every τ gives the same distribution.
    """
    scores = scores.detach().double()
    best = scores.masked_fill(~mask, -torch.inf).amax(1)
    number = mask if copies is None else copies.masked_fill(~mask, 0)
    counts = number.sum(1)
    ties = number.masked_fill(scores != best[:, None], 0).sum(1)
    judged = counts >= 2
    constant = judged & (ties == counts)
    if constant.any():
        raise ObjectiveError(
            f"{int(constant.sum())} of {len(scores)} contexts have one and the same teacher score for all candidates, "
            "so no temperature follows from the entropy",
            "drop those contexts, draw more candidates, or give tau a number",
        )
    spread = torch.where(judged, best - scores.masked_fill(~mask, torch.inf).amin(1), 1.0)
    n, k = counts.clamp(min=2).double(), ties.clamp(min=1).double()
    aim = torch.full_like(spread, target).clamp(k * (n / k) ** _MARGIN, n * (k / n) ** _MARGIN)
    # between: at the low end only ties are left, at the high end the row is flat
    low, high = (spread * 1e-7).log(), (spread * 1e4).log()
    for _ in range(_STEPS):
        middle = (low + high) / 2
        flat = effective_documents(scores, mask, middle.exp()[:, None], copies) > aim
        low, high = torch.where(flat, low, middle), torch.where(flat, middle, high)
    return torch.where(judged, ((low + high) / 2).exp(), 1.0)
