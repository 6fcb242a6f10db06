"""A batch of a response student: contexts as tokens, and responses as tokens too, in chunks of about one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from distillir.objectives.contract import Targets


class Texts(NamedTuple):
    """R responses, padded: ids (R, L) and mask (R, L) bool."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class ResponseBatch:
    """B contexts with N own and S shared candidates out of U responses, all encoded in the step.

    Attributes:
        ids: (B, L) tokens of the contexts. mask: (B, L) bool, False on padding.
        chunks: all U responses together; of several, one's activations are held at a time.
        candidates: (B, N) place of each own candidate among the U, -1 where the list is shorter.
        shared: (S,) place of each negative that the batch shares. shared_mask: (B, S) bool.
        targets: what the labels say.
        names: (B,) context ids.
    """

    ids: Tensor
    mask: Tensor
    chunks: tuple[Texts, ...]
    candidates: Tensor
    shared: Tensor
    shared_mask: Tensor
    targets: Targets
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> ResponseBatch:
        """Contexts `start` to `stop` with their own candidates and all that is shared."""
        candidates, mask = self.candidates[start:stop], self.mask[start:stop]
        wanted = torch.unique(torch.cat([candidates[candidates >= 0], self.shared]))
        place = torch.full((sum(len(chunk.ids) for chunk in self.chunks) + 1,), -1)
        place[wanted] = torch.arange(len(wanted))
        chunks, first = [], 0
        for chunk in self.chunks:
            rows = wanted[(wanted >= first) & (wanted < first + len(chunk.ids))] - first
            first += len(chunk.ids)
            if len(rows):
                chunks.append(Texts(chunk.ids[rows], chunk.mask[rows]))
        width = int(mask.sum(1).max())
        return ResponseBatch(
            self.ids[start:stop, :width],
            mask[:, :width],
            tuple(chunks),
            place[candidates],  # −1 reads the last entry, which stays −1
            place[self.shared],
            self.shared_mask[start:stop],
            self.targets.part(start, stop),
            self.names[start:stop],
        )

    def to(self, device: torch.device | str) -> ResponseBatch:
        """The same batch on another device."""
        return ResponseBatch(
            self.ids.to(device),
            self.mask.to(device),
            tuple(Texts(chunk.ids.to(device), chunk.mask.to(device)) for chunk in self.chunks),
            self.candidates.to(device),
            self.shared.to(device),
            self.shared_mask.to(device),
            self.targets.to(device),
            self.names,
        )
