"""Penalties on representations x (B, V), x ≥ 0. Each is a mean over the batch it sees.

Over parts of a batch, `flops` and `df_flops` are not the mean of what each part gives: they see the global batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distillir.errors import ObjectiveError

_FLOOR = 0.1
"""Σx below which `anti_zero` goes on as a straight line; a usable query has a sum of several units."""


def l1(x: Tensor) -> Tensor:
    """mean_b Σ_j x_bj."""
    return _wide(x).sum(1).mean()


def flops(x: Tensor) -> Tensor:
    """Σ_j (mean_b x_bj)²: falls fastest where dimensions are evenly used. Paria et al., arXiv 2004.05665."""
    return _wide(x).mean(0).square().sum()


def expected_flops(x: Tensor, document_share: Tensor) -> Tensor:
    """mean_b Σ_j P_d(j)·x_bj: the smooth stand-in for `flops_at_corpus` when documents are frozen.

    Args:
        x: (B, V) query representations.
        document_share: (V,) share of the collection's documents with a weight on each dimension.
    """
    return (_wide(x) * share_like(document_share, x)).sum(1).mean()


def df_flops(x: Tensor, document_share: Tensor, alpha: float = 0.1, beta: float = 10.0) -> Tensor:
    """Σ_j (w_j·mean_b x_bj)², w_j = 1 / (1 + (P_d(j)^{log_α 2} − 1)^β): spares rare dimensions.

    DF-FLOPS (Porco et al., SIGIR 2025, arXiv 2505.15070), with the shares of a frozen collection where the paper
    estimates them while it trains.

    Args:
        x: (B, V) representations.
        document_share: (V,) share of the collection's documents with a weight on each dimension.
        alpha: share at which w is ½; beta: steepness around it. The paper tunes both; .1 and 10 are common since.
    """
    share = share_like(document_share, x)
    odds = share.clamp(min=1e-12).double() ** (math.log(2) / math.log(alpha)) - 1  # 1 at α, 0 at share 1
    weight = (1 / (1 + odds.clamp(min=0) ** beta)).to(share.dtype)
    return (weight * _wide(x).mean(0)).square().sum()


def anti_zero(x: Tensor) -> Tensor:
    """mean_b 1/(Σ_j x_bj)²: keeps a query from losing its last dimension (DiSCo, arXiv 2410.14609, released training).

    Below Σ = 0.1 the tangent there continues it, so that a zero query gives 300 instead of an infinite loss.
    """
    total = _wide(x).sum(1)
    safe = total.clamp(min=_FLOOR)
    return torch.where(total >= _FLOOR, safe**-2, 3 / _FLOOR**2 - 2 * total / _FLOOR**3).mean()


def share_like(document_share: Tensor, x: Tensor) -> Tensor:
    """The share beside x, once it is known to be one number a dimension.

    Raises:
        ObjectiveError: another width than the representations'.
    """
    if document_share.shape != x.shape[1:]:
        raise ObjectiveError(
            f"document share {tuple(document_share.shape)} beside representations {tuple(x.shape)}",
            "take the share from vectors of the same vocabulary",
        )
    return document_share.to(device=x.device, dtype=_wide(x).dtype)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
