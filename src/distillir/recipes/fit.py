"""Distil one sparse student: contexts and stored documents in, a trained student out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillir.data import Context
from distillir.encoding import teacher_pool
from distillir.recipes.assemble import build_objective, build_penalties, build_rule, build_sampler
from distillir.recipes.method import Method
from distillir.recipes.systems import teacher_vectors
from distillir.sampling import RankedPool, gold_share
from distillir.students.sparse import SparseSettings, SparseStudent
from distillir.training import SparseData, Tick, TrainResult, TrainSettings, train
from distillir.training.loop import Evaluate
from distillir.vectors import CSR, SparseVectors
from distillir.vectors.csr import take_rows


@dataclass(frozen=True)
class Labelled:
    """Contexts with what the teachers say of them, computed once and shared by every student.

    Attributes:
        contexts: what is learnt from.
        teacher: fused teacher vector of each.
        pool: what the teacher ranks for each; None for a method over the whole collection.
        golds: positions of each context's relevant documents in the candidate corpus.
        gold_share: share of contexts with gold, by source.
    """

    contexts: tuple[Context, ...]
    teacher: CSR
    pool: RankedPool | None
    golds: tuple[np.ndarray, ...]
    gold_share: dict[str, float]

    def take(self, rows: Sequence[int]) -> Labelled:
        """Some of the contexts, in the given order; nothing is computed again."""
        contexts = tuple(self.contexts[i] for i in rows)
        golds = tuple(self.golds[i] for i in rows)
        teacher = take_rows(self.teacher.indptr, self.teacher.indices, self.teacher.values, np.asarray(rows, np.int64))
        share = gold_share((c.source, g) for c, g in zip(contexts, golds, strict=True))
        return Labelled(contexts, teacher, self.pool, golds, share)


def label(
    contexts: Sequence[Context], encoder: SparseStudent, documents: SparseVectors, method: Method, folder: Path
) -> Labelled:
    """Teacher vectors and gold positions of contexts.

    Args:
        encoder: the frozen encoder of documents and rewrites.
        documents: vectors of the candidate corpus. A gold that is not in it is no gold here.
        folder: of the stored rewrite vectors.
    """
    teacher = teacher_vectors(encoder, contexts, method.teachers, folder)
    known = set(documents.ids)
    golds = tuple(documents.position([d for d in c.relevant if d in known]) for c in contexts)
    share = gold_share((c.source, g) for c, g in zip(contexts, golds, strict=True))
    pool = None
    if method.pool == "teacher_ranks":
        pool = teacher_pool([c.id for c in contexts], teacher, documents, depth=method.depth)
    return Labelled(tuple(contexts), teacher, pool, golds, share)


def fit(
    source: str | Path,
    labelled: Labelled,
    documents: SparseVectors,
    method: Method,
    settings: SparseSettings,
    training: TrainSettings,
    *,
    evaluate: Callable[[SparseStudent], float] | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
    screen: bool = False,
) -> tuple[SparseStudent, TrainResult]:
    """Train a student from `source` on labelled contexts.

    Args:
        source: start checkpoint, a folder or model id.
        documents: vectors of the candidate corpus, frozen.
        evaluate: dev figure of a student, larger is better.
        folder: of the checkpoints; None = nothing is kept.
        screen: see `splade_head`.
    """
    student = SparseStudent.from_pretrained(source, settings)
    student.screen = screen
    sampler = None if labelled.pool is None else build_sampler(method, labelled.pool, training.seed)
    data = SparseData(
        names=[c.id for c in labelled.contexts],
        ids=[student.render(c.conversation).ids for c in labelled.contexts],
        teacher=labelled.teacher,
        documents=documents,
        sampler=sampler,
        golds=labelled.golds,
        pad_id=int(student.tokenizer.pad_token_id),
        dim=student.dim,
        shared=method.in_batch,
        rule=build_rule(method),
    )
    judge: Evaluate | None = None if evaluate is None else evaluate  # type: ignore[assignment]
    result = train(
        student,
        data,
        build_objective(method, documents),
        training,
        penalties=build_penalties(method),
        evaluate=judge,
        folder=folder,
        watch=watch,
    )
    return student, result
