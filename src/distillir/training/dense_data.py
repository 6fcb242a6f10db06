"""Batches of a dense student: tokens of contexts, stored vectors of candidates, true teacher scores.

No model runs here. A teacher's score of any document is the dot product of two stored vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillir.errors import TrainingError
from distillir.objectives.contract import Targets
from distillir.sampling import Candidates, CandidateSampler, shared_block
from distillir.students.batch import pad
from distillir.students.dense_batch import DenseBatch, listed
from distillir.vectors.dense import DenseVectors

WHOLE = 1 << 31  # bytes of float32 vectors beyond which a whole collection is not put into every batch


@dataclass(frozen=True)
class DenseData:
    """Training contexts of a dense student.

    Attributes:
        names: context ids. ids: their tokens.
        teacher: (C, D) the teacher's vector of each context.
        documents: vectors of the candidate corpus, frozen.
        sampler: draws a context's candidates; None makes every document a candidate of every context.
        golds: positions of the relevant documents of each context, empty where none is known.
        pad_id: of the tokenizer.
        shared: whether negatives are shared by the batch; without a sampler there is nothing to share.

    Raises:
        TrainingError: counts or widths that do not fit, or a whole collection too large for a batch.
    """

    names: Sequence[str]
    ids: Sequence[Sequence[int]]
    teacher: NDArray[np.float32]
    documents: DenseVectors
    sampler: CandidateSampler | None
    golds: Sequence[NDArray[np.int64]]
    pad_id: int
    shared: bool = True
    lengths: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        if len({len(self.names), len(self.ids), len(self.teacher), len(self.golds)}) > 1:
            raise TrainingError(
                f"{len(self.names)} contexts, {len(self.ids)} token lists, {len(self.teacher)} teacher vectors and "
                f"{len(self.golds)} gold lists",
                "give one of each a context, in the same order",
            )
        if self.documents.dim != self.teacher.shape[1]:
            raise TrainingError(
                f"documents have {self.documents.dim} dimensions, the teacher's vectors {self.teacher.shape[1]}",
                "encode both with one model",
            )
        if self.sampler is None and len(self.documents) * self.documents.dim * 4 > WHOLE:
            raise TrainingError(
                f"{len(self.documents):,} documents are too many to score in every step",
                "draw candidates: pool 'teacher_ranks'",
            )
        object.__setattr__(self, "lengths", [len(one) for one in self.ids])

    def collate(self, rows: Sequence[int], epoch: int) -> DenseBatch:
        """Contexts `rows` in `epoch` as a batch; a function of its arguments alone."""
        teacher = torch.from_numpy(self.teacher[np.asarray(rows, np.int64)])  # (B, D)
        shared, allowed = np.empty(0, np.int64), np.empty((len(rows), 0), bool)
        if self.sampler is None:
            stored, candidates = self._everything, None
            gold = np.zeros((len(rows), len(self.documents)), bool)
            for i, row in enumerate(rows):
                gold[i, self.golds[row]] = True
        else:
            lists = [self.sampler(self.names[row], self.golds[row], epoch) for row in rows]
            if self.shared:
                shared, allowed = shared_block(lists)
            unique = np.union1d(np.concatenate([one.positions for one in lists]), shared)
            stored = torch.from_numpy(self.documents.gather(unique))  # (U, D)
            places, gold = _padded(lists, unique)
            shared, candidates = np.searchsorted(unique, shared), torch.from_numpy(places)
        ids, mask = pad([self.ids[row] for row in rows], self.pad_id)
        return DenseBatch(
            ids=ids,
            mask=mask,
            documents=stored,
            candidates=candidates,
            shared=torch.from_numpy(shared),
            shared_mask=torch.from_numpy(allowed),
            targets=Targets(
                scores=listed(teacher @ stored.t(), candidates)[0], gold=torch.from_numpy(gold), vectors=teacher
            ),
            names=tuple(self.names[row] for row in rows),
        )

    @cached_property
    def _everything(self) -> Tensor:
        return torch.from_numpy(self.documents.gather(np.arange(len(self.documents))))


def _padded(lists: Sequence[Candidates], unique: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of `unique` that each context lists (B, N), -1 behind its end, and which of them are gold (B, N)."""
    width = max(len(one) for one in lists)
    places = np.full((len(lists), width), -1, np.int64)
    gold = np.zeros((len(lists), width), bool)
    for i, one in enumerate(lists):
        places[i, : len(one)] = np.searchsorted(unique, one.positions)
        gold[i, : len(one)] = one.is_gold
    return places, gold
