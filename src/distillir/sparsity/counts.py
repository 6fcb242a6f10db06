"""True costs of representations, which penalties only stand in for. No gradient flows through a count."""

from __future__ import annotations

import torch
from torch import Tensor

from distillir.sparsity.penalties import share_like


def active_dimensions(x: Tensor) -> Tensor:
    """(B, V) → (B,) int64 number of dimensions with a weight."""
    return (x > 0).sum(1)


def flops_at_corpus(x: Tensor, document_share: Tensor) -> Tensor:
    """(B, V), (V,) → (B,) Σ over active j of P_d(j): multiplications a query costs per document of that corpus.

    The mean over queries is the published FLOPS, Σ_j P_q(j)·P_d(j); it says nothing without the corpus's name.
    """
    share = share_like(document_share, x)
    return torch.where(x > 0, share, 0.0).sum(1)
