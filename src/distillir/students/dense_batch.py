"""A batch of a dense student: conversations as tokens, candidates as stored vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distillir.objectives.contract import Output, Targets


@dataclass(frozen=True)
class DenseBatch:
    """B contexts with N listed and S shared candidates out of U stored rows.

    Attributes:
        ids: (B, L) tokens. mask: (B, L) bool, False on padding.
        documents: (U, D) frozen vectors, each document of the batch once.
        candidates: (B, N) row of each listed candidate, -1 where the list is shorter; None lists all U for everyone.
        shared: (S,) row of each candidate the batch shares. shared_mask: (B, S) bool.
        targets: what the labels say.
        names: (B,) context ids.
    """

    ids: Tensor
    mask: Tensor
    documents: Tensor
    candidates: Tensor | None
    shared: Tensor
    shared_mask: Tensor
    targets: Targets
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> DenseBatch:
        """Contexts `start` to `stop` without the padding that only the others need."""
        width = int(self.mask[start:stop].sum(1).max())
        return DenseBatch(
            self.ids[start:stop, :width],
            self.mask[start:stop, :width],
            self.documents,
            None if self.candidates is None else self.candidates[start:stop],
            self.shared,
            self.shared_mask[start:stop],
            self.targets.part(start, stop),
            self.names[start:stop],
        )

    def to(self, device: torch.device | str) -> DenseBatch:
        """The same batch on another device."""
        return DenseBatch(
            self.ids.to(device),
            self.mask.to(device),
            self.documents.to(device),
            None if self.candidates is None else self.candidates.to(device),
            self.shared.to(device),
            self.shared_mask.to(device),
            self.targets.to(device),
            self.names,
        )


def listed(every: Tensor, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores (B, U) of all rows → scores (B, N) of the listed candidates and which of them are real, (B, N) bool."""
    if candidates is None:
        return every, every.new_ones(every.shape, dtype=torch.bool)
    return every.gather(1, candidates.clamp(min=0)), candidates >= 0


def score_dense(vectors: Tensor, batch: DenseBatch) -> Output:
    """Scores of a batch's candidates for query vectors (B, D)."""
    every = vectors @ batch.documents.t()  # (B, U)
    scores, mask = listed(every, batch.candidates)
    shared = every[:, batch.shared] if len(batch.shared) else None  # (B, S)
    return Output(
        scores=scores,
        mask=mask,
        vectors=vectors,
        shared=shared,
        shared_mask=None if shared is None else batch.shared_mask,
    )
