"""Turn embeddings and the turn gate: what tells a student whose turn a token belongs to.

The gate adds one scalar to every vocabulary logit of token i,
    g_i = w·h_i + o[turn type of i],    w = 0,  o = (0, −d, −d) at the start,
so history still contextualises the question while its own terms must earn their way in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distillir.rendering import TurnType


class TurnGate(nn.Module):
    """One scalar a token, from its state and whose turn it is.

    Args:
        hidden: H, width of the states.
        offset: d ≥ 0, how far earlier turns start below the open question.
    """

    def __init__(self, hidden: int, offset: float = 5.0) -> None:
        super().__init__()
        self.state = nn.Linear(hidden, 1, bias=False)
        self.offset = nn.Parameter(torch.tensor([0.0, -offset, -offset]))
        nn.init.zeros_(self.state.weight)

    def forward(self, states: Tensor, types: Tensor) -> Tensor:
        """States (B, L, H) and types (B, L) → gate (B, L)."""
        scalar: Tensor = self.state(states).squeeze(-1)
        return scalar + self.offset[types]


class TurnEmbeddings(nn.Module):
    """Added to the word embeddings; zero at the start, so the model begins as it was.

    Args:
        width: E, width of the word embeddings.
        reach: exchanges back that are told apart; farther ones share the last row.
    """

    def __init__(self, width: int, reach: int = 8) -> None:
        super().__init__()
        self.reach = reach
        self.by_type = nn.Embedding(len(TurnType), width)  # `type` is a method of nn.Module
        self.by_distance = nn.Embedding(reach + 1, width)
        nn.init.zeros_(self.by_type.weight)
        nn.init.zeros_(self.by_distance.weight)

    def forward(self, types: Tensor, distances: Tensor) -> Tensor:
        """Types and distances (B, L) → (B, L, E)."""
        out: Tensor = self.by_type(types) + self.by_distance(distances.clamp(max=self.reach))
        return out


def turn_types(ids: Tensor, sep_id: int, *, answers: bool) -> tuple[Tensor, Tensor]:
    """`rendering.segment_types` on tensors: types and distances (B, L) from ids (B, L)."""
    is_sep = (ids == sep_id).long()
    segment = is_sep.cumsum(-1) - is_sep
    earlier = torch.full_like(segment, int(TurnType.EARLIER_QUESTION))
    if answers:
        earlier[segment % 2 == 1] = int(TurnType.EARLIER_ANSWER)
    types = torch.where(segment == 0, int(TurnType.QUESTION), earlier)
    return types, (segment + 1) // 2 if answers else segment
