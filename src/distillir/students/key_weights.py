"""How much a generated key says: likely given the query, and rare in the corpus."""

from __future__ import annotations

import torch
from torch import Tensor

HIGHEST = -1e-6  # log-probability above which the weight would be infinite
SMOOTHING = 5.0


def key_prior(counts: Tensor, tokens: int, smoothing: float = SMOOTHING) -> Tensor:
    """(K,) float64 ln((count + smoothing) / (tokens + smoothing)): how likely a key is without a query.

    Args:
        counts: (K,) how often each occurs. tokens: of the corpus.
        smoothing: 5 as published for millions of passages; in a small corpus it makes rare keys look common.
    """
    return torch.log((counts.double() + smoothing) / (tokens + smoothing)).clamp(max=HIGHEST)


def key_weights(log_probs: Tensor, prior: Tensor) -> Tensor:
    """(K,) w = max(0, [lp + ln(1 − e^prior)] − [prior + ln(1 − e^lp)])², the log odds of a key given the query over
    those without it (SEAL, arXiv 2204.10628; the square is LTRGR's and DGR's, arXiv 2402.10769).

    Differentiable in `log_probs`, which are held at −1e-6 or below: at 0 the weight is infinite.

    Args:
        log_probs: (K,) ln P(key | query). prior: (K,) see `key_prior`.
    """
    lp = (log_probs if log_probs.dtype == torch.float64 else log_probs.float()).clamp(max=HIGHEST)
    base = prior.to(lp.dtype).clamp(max=HIGHEST)
    # −expm1(x) is 1 − e^x without the cancellation that would cost float32 everything near 0.
    odds = lp + torch.log(-torch.expm1(base)) - base - torch.log(-torch.expm1(lp))
    return torch.relu(odds).square()
