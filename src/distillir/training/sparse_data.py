"""Batches of a sparse student: tokens of contexts, stored rows of candidates, true teacher scores.

No model runs here. A teacher's score of any document is the dot product of two stored vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from distillir.errors import TrainingError
from distillir.labels import FusionPlan, fuse_scores
from distillir.objectives.contract import Targets
from distillir.sampling import Candidates, CandidateSampler, Ranking, shared_block
from distillir.students.batch import SparseBatch, StoredRows, pad
from distillir.vectors import CSR, SparseVectors
from distillir.vectors.csr import take_rows

ScoreRule = Callable[[NDArray[np.float32], Candidates, Ranking], NDArray[np.float32]]
NO_CANDIDATES = Candidates(np.empty(0, np.int64), np.empty(0, bool), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class SparseData:
    """Training contexts of a sparse student.

    Attributes:
        names: context ids. ids: their tokens.
        teacher: the teacher's vector of each context.
        documents: vectors of the candidate corpus.
        sampler: draws a context's candidates; None for an objective over the whole collection.
        golds: positions of the relevant documents of each context, empty where none is known.
        pad_id: of the tokenizer. dim: V.
        shared: whether negatives are shared by the batch.
        rule: changes the teacher's scores of a list, for procedures that do (see the presets).
        members: each teacher's own vectors in the order of `plan.weights`, an empty row where it lacks the context;
            for plans whose scores are no vector's. Without any, the scores are those of `teacher`.
        plan: how the members' scores are fused.
        turns: turn depth of each context, 1 on a first turn; only targets by turn read it.
    """

    names: Sequence[str]
    ids: Sequence[Sequence[int]]
    teacher: CSR
    documents: SparseVectors
    sampler: CandidateSampler | None
    golds: Sequence[NDArray[np.int64]]
    pad_id: int
    dim: int
    shared: bool = True
    rule: ScoreRule | None = None
    members: Sequence[CSR] = ()
    plan: FusionPlan | None = None
    turns: Sequence[int] | None = None
    lengths: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        sizes = {len(self.names), len(self.ids), self.teacher.rows, len(self.golds)}
        if len(sizes) > 1:
            raise TrainingError(
                f"{len(self.names)} contexts, {len(self.ids)} token lists, {self.teacher.rows} teacher vectors and "
                f"{len(self.golds)} gold lists",
                "give one of each a context, in the same order",
            )
        if self.members and (self.plan is None or len(self.plan.weights) != len(self.members)):
            raise TrainingError(
                f"{len(self.members)} teachers' vectors and a fusion of {self.plan and len(self.plan.weights)}",
                "give the plan's teachers, in its order",
            )
        if self.documents.dim != self.dim:
            raise TrainingError(
                f"documents have {self.documents.dim} dimensions, the student {self.dim}",
                "encode the corpus with a model of the student's vocabulary",
            )
        if self.turns is not None and len(self.turns) != len(self.names):
            raise TrainingError(f"{len(self.names)} contexts and {len(self.turns)} turns", "give one a context")
        object.__setattr__(self, "lengths", [len(one) for one in self.ids])

    def collate(self, rows: Sequence[int], epoch: int) -> SparseBatch:
        """Contexts `rows` in `epoch` as a batch; a function of its arguments alone."""
        lists = [self._draw(row, epoch) for row in rows]
        shared, allowed = np.empty(0, np.int64), np.empty((len(rows), 0), bool)
        if self.shared and self.sampler is not None:
            shared, allowed = shared_block(lists)
        listed = np.concatenate([one.positions for one in lists])
        unique = np.union1d(listed, shared)  # ascending: gathering walks the shards in order
        width = max((len(one) for one in lists), default=0)
        candidates = np.full((len(rows), width), -1, np.int64)
        gold = np.zeros((len(rows), width), bool)
        for i, one in enumerate(lists):
            candidates[i, : len(one)] = np.searchsorted(unique, one.positions)
            gold[i, : len(one)] = one.is_gold
        stored = StoredRows.from_csr(self.documents.gather(unique))
        teacher = self._dense(self.teacher, rows)
        scores = self._scores(stored, torch.from_numpy(candidates).clamp(min=0), teacher, rows) if width else None
        if scores is not None and self.rule is not None:
            scores = self._ruled(scores, rows, lists)
        turns = None if self.turns is None else torch.tensor([self.turns[row] for row in rows])
        ids, mask = pad([self.ids[row] for row in rows], self.pad_id)
        return SparseBatch(
            ids=ids,
            mask=mask,
            documents=stored,
            candidates=torch.from_numpy(candidates),
            shared=torch.from_numpy(np.searchsorted(unique, shared)),
            shared_mask=torch.from_numpy(allowed),
            targets=Targets(scores=scores, gold=torch.from_numpy(gold), vectors=teacher, turns=turns),
            names=tuple(self.names[row] for row in rows),
        )

    def _draw(self, row: int, epoch: int) -> Candidates:
        if self.sampler is None:
            return NO_CANDIDATES
        return self.sampler(self.names[row], self.golds[row], epoch)

    def _dense(self, vectors: CSR, rows: Sequence[int]) -> torch.Tensor:
        return StoredRows.from_csr(take_rows(*vectors, np.asarray(rows, np.int64))).dense(self.dim)

    def _scores(
        self, stored: StoredRows, listed: torch.Tensor, teacher: torch.Tensor, rows: Sequence[int]
    ) -> torch.Tensor:
        """(B, N) teacher scores of the listed documents."""
        if not self.members or self.plan is None:
            return stored.dot(teacher).gather(1, listed)
        each = [stored.dot(self._dense(one, rows)).gather(1, listed).numpy() for one in self.members]
        present = np.array([[one.indptr[row + 1] > one.indptr[row] for row in rows] for one in self.members])
        return torch.from_numpy(fuse_scores(each, self.plan, present=present).astype(np.float32))

    def _ruled(self, scores: torch.Tensor, rows: Sequence[int], lists: Sequence[Candidates]) -> torch.Tensor:
        assert self.rule is not None
        assert self.sampler is not None
        changed = scores.numpy().copy()
        for i, (row, one) in enumerate(zip(rows, lists, strict=True)):
            changed[i, : len(one)] = self.rule(changed[i, : len(one)], one, self.sampler.pool[self.names[row]])
        return torch.from_numpy(changed)
