"""InfoNCE: a relevant document against negatives of its own list and of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from distillir.errors import ObjectiveError
from distillir.objectives._lists import LOWEST, gold_mask, mean_over, mean_per_row, shared_scores, student_scores
from distillir.objectives.contract import Output, Targets
from distillir.objectives.kld import check_temperature


@dataclass(frozen=True)
class InfoNCE:
    """L = mean over contexts of mean over their golds g of −log( e^{s_g/τ} / (e^{s_g/τ} + Σ_negatives e^{s/τ}) ).

    Negatives are the candidates of the context's own list that are not gold, and the block the batch shares. Golds
    never compete with each other. Contexts without a gold, or without a negative, do not count; if none counts the
    loss and its gradient are zero. van den Oord et al., arXiv 1807.03748; the contrastive term of DiSCo.

    Attributes:
        tau: temperature.
        own_list: whether the own list's other candidates are negatives; without them only the shared block is.

    Raises:
        ObjectiveError: gold or shared mask of another width; `own_list` off and no shared block.
    """

    name: ClassVar[str] = "infonce"
    reads_targets: ClassVar[frozenset[str]] = frozenset({"gold"})

    tau: float = 1.0
    own_list: bool = True

    def __post_init__(self) -> None:
        check_temperature(self.name, self.tau)

    @property
    def reads_output(self) -> frozenset[str]:
        return frozenset({"scores"} if self.own_list else {"scores", "shared"})

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        scores, mask = student_scores(self.name, output)
        gold = gold_mask(self.name, output, targets)
        blocks, real = [], []
        if self.own_list:
            blocks.append(scores)
            real.append(mask & ~gold)
        if (block := shared_scores(self.name, output)) is not None:
            blocks.append(block[0])
            real.append(block[1])
        if not blocks:
            raise ObjectiveError(
                "objective 'infonce' has no negatives: own_list is off and the batch shares none",
                "let the batch share its negatives, or turn own_list on",
            )
        negative = torch.cat(real, dim=1)  # (B, M)
        logits = (torch.cat(blocks, dim=1) / self.tau).masked_fill(~negative, LOWEST)
        against = torch.logsumexp(logits, dim=1)  # (B,)
        terms = F.softplus(against[:, None] - scores / self.tau)  # (B, N): −log of the gold's share
        rows, has_gold = mean_per_row(terms, gold)
        return mean_over(rows, has_gold & negative.any(1))
