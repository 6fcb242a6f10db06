"""Penalties on query representations (B, V): pure functions, one number a batch."""

from __future__ import annotations

from torch import Tensor


def l1(x: Tensor) -> Tensor:
    """mean_b Σ_j x_bj."""
    return x.abs().sum(1).mean()


def flops(x: Tensor) -> Tensor:
    """Σ_j (mean_b x_bj)², the FLOPS regulariser (Paria et al. 2020, SPLADE)."""
    return x.abs().mean(0).square().sum()


def expected_flops(x: Tensor, document_share: Tensor) -> Tensor:
    """mean_b Σ_j P_d(j)·x_bj: the surrogate of flops@corpus, whose true count has no gradient.

    Args:
        document_share: (V,) share of the collection's documents with a weight on j.
    """
    return (x.abs() * document_share).sum(1).mean()


def anti_zero(x: Tensor) -> Tensor:
    """mean_b 1/(Σ_j x_bj)²: keeps a query from collapsing to zero (DiSCo's released training).

    The sum is bounded below at 0.01: at zero there is no gradient to follow anyway.
    """
    return (1 / x.sum(1).clamp(min=0.01).square()).mean()
