"""Contrastive loss of the gold against the others (InfoNCE; DiSCo's cross-entropy term)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillir.errors import ConfigError, ObjectiveError
from distillir.objectives.contract import Output, Targets


def infonce(
    scores: Tensor,
    gold: Tensor,
    mask: Tensor,
    shared: Tensor | None = None,
    shared_mask: Tensor | None = None,
    tau: float = 1.0,
) -> Tensor:
    """Mean over golds of −ln softmax of the gold among itself and all negatives; golds never compete.

    Args:
        scores: (B, N). gold, mask: (B, N) bool.
        shared: (B, S) scores of negatives that the batch shares. shared_mask: (B, S) bool.
        tau: temperature.

    Returns:
        Scalar, float32; per context the mean over its golds, then the mean over contexts that have one. Contexts
        without gold, or without any negative, do not count; zero when none does.
    """
    if scores.shape != gold.shape or scores.shape != mask.shape:
        raise ObjectiveError(
            f"scores {tuple(scores.shape)}, gold {tuple(gold.shape)}, mask {tuple(mask.shape)}",
            "give three (B, N) tensors",
        )
    gold = gold & mask
    s = scores.float().masked_fill(~mask, 0.0) / tau
    negatives = s.masked_fill(gold | ~mask, -torch.inf)
    real = (mask & ~gold).any(1)
    if shared is not None and shared_mask is not None:
        others = (shared.float() / tau).masked_fill(~shared_mask, -torch.inf)
        negatives = torch.cat([negatives, others], dim=1)
        real = real | shared_mask.any(1)
    counts = gold.any(1) & real
    # Rows that do not count get a finite stand-in: −inf minus −inf would poison the gradient of the others.
    negatives = torch.where(real[:, None], negatives, 0.0)
    floor = torch.logsumexp(negatives, dim=1, keepdim=True)  # (B, 1)
    losses = torch.nn.functional.softplus(floor - s).masked_fill(~gold, 0.0)  # −ln e^s / (e^s + Σ e^neg)
    rows = losses.sum(1) / gold.sum(1).clamp(min=1)
    return torch.where(counts, rows, 0.0).sum() / counts.sum().clamp(min=1)


@dataclass(frozen=True)
class InfoNCE:
    """`infonce` as an objective; shared negatives are read where the batch has them."""

    tau: float = 1.0

    name: ClassVar[str] = "infonce"
    reads_output: ClassVar[frozenset[str]] = frozenset({"scores"})
    reads_targets: ClassVar[frozenset[str]] = frozenset({"gold"})

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise ConfigError(f"infonce: tau is {self.tau}", "give a positive temperature")

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        """Scalar loss."""
        assert targets.gold is not None  # check_pairing refused it before step 0
        return infonce(output.scores, targets.gold, output.mask, output.shared, output.shared_mask, self.tau)
