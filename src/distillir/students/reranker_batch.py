"""A batch of a reranker: pairs of a conversation and a passage, in chunks of pairs that are about as long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distillir.objectives.contract import Targets


@dataclass(frozen=True)
class Pair:
    """One conversation with one passage: token ids, and where the passage's side begins."""

    ids: tuple[int, ...]
    passage_start: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Pairs:
    """P pairs, padded.

    Attributes:
        ids: (P, L) tokens. mask: (P, L) bool, False on padding.
        types: (P, L) 0 on the query's side, 1 on the passage's.
    """

    ids: Tensor
    mask: Tensor
    types: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Pairs:
        """The same pairs on another device."""
        return Pairs(self.ids.to(device), self.mask.to(device), self.types.to(device))


@dataclass(frozen=True)
class RerankBatch:
    """B contexts with up to N candidates each.

    Attributes:
        chunks: all pairs of the batch, P together; what is held at once in a step is one of them.
        candidates: (B, N) place of each candidate's pair among all P, -1 where the list is shorter.
        targets: what the labels say.
        names: (B,) context ids.
    """

    chunks: tuple[Pairs, ...]
    candidates: Tensor
    targets: Targets
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.candidates)

    def part(self, start: int, stop: int) -> RerankBatch:
        """Contexts `start` to `stop`, with only their own pairs."""
        candidates = self.candidates[start:stop]
        wanted = torch.unique(candidates[candidates >= 0])
        place = torch.full((sum(map(len, self.chunks)) + 1,), -1)
        place[wanted] = torch.arange(len(wanted))
        chunks, first = [], 0
        for chunk in self.chunks:
            rows = wanted[(wanted >= first) & (wanted < first + len(chunk))] - first
            first += len(chunk)
            if len(rows):
                chunks.append(Pairs(chunk.ids[rows], chunk.mask[rows], chunk.types[rows]))
        # −1 reads the last entry, which stays −1
        return RerankBatch(tuple(chunks), place[candidates], self.targets.part(start, stop), self.names[start:stop])

    def to(self, device: torch.device | str) -> RerankBatch:
        """The same batch on another device."""
        moved = tuple(chunk.to(device) for chunk in self.chunks)
        return RerankBatch(moved, self.candidates.to(device), self.targets.to(device), self.names)


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of at most `budget` tokens with padding, sorted by length, longest first; one that is longer
    by itself is alone."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first of a batch is its longest, so it says how wide the batch is.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
