"""Distil one dense student: contexts and stored vectors in, a trained student out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context
from distillir.encoding.dense import dense_rewrite_vectors, dense_teacher_pool, fuse_dense
from distillir.errors import ConfigError, DataError
from distillir.labels import FusionPlan, LabelStore
from distillir.objectives import OBJECTIVES
from distillir.objectives.contract import Objective
from distillir.recipes.assemble import build_sampler, mixed, objective_terms
from distillir.recipes.marks import labelled_digest
from distillir.recipes.method import UNTRAINED, WHOLE, Method
from distillir.recipes.stored import through_store
from distillir.sampling import RankedPool, gold_share
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.training import Tick, TrainResult, TrainSettings, train
from distillir.training.crew import on_every_process
from distillir.training.dense_data import DenseData
from distillir.training.loop import Evaluate
from distillir.vectors.dense import DenseVectors


@dataclass(frozen=True)
class DenseLabelled:
    """Contexts with what the teachers say of them, computed once and shared by every student.

    Attributes:
        contexts: what is learnt from.
        teacher: (C, D) fused teacher vector of each.
        pool: what the teacher ranks for each; None for a method over the whole collection.
        golds: positions of each context's relevant documents in the candidate corpus.
        gold_share: share of contexts with gold, by source.
        dropped: reason → source → contexts that were left out for it.
    """

    contexts: tuple[Context, ...]
    teacher: NDArray[np.float32]
    pool: RankedPool | None
    golds: tuple[NDArray[np.int64], ...]
    gold_share: dict[str, float]
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def digest(self) -> str:
        """Hash of all that a training reads of it: conversations, teacher vectors, golds."""
        return labelled_digest(self.contexts, self.golds, [self.teacher])


def label_dense(
    contexts: Sequence[Context],
    encoder: DenseStudent,
    documents: DenseVectors,
    method: Method,
    folder: Path,
    *,
    start: DenseStudent | None = None,
    store: LabelStore | None = None,
    origin: str = "contexts",
) -> DenseLabelled:
    """Teacher vectors, rankings and gold positions of contexts.

    Args:
        encoder: the frozen encoder of documents and rewrites.
        documents: vectors of the candidate corpus. A gold that is not in it is no gold here.
        folder: of the stored rewrite vectors.
        start: the student before training, where the method names the teacher "untrained": the mean of a rewrite's
            vector and the untrained gate's ranks better than either.
        store: of labels; rewrites go into it and are read from it, and contexts without any are dropped and counted.
        origin: name and version of the file the contexts come from, for the store.

    Raises:
        DataError: without a store, a context that none of the teachers rewrote; with one, if that is all of them.
    """
    dropped: dict[str, dict[str, int]] = {}
    if store is not None:
        writers = [teacher for teacher, weight in method.teachers.items() if weight and teacher != UNTRAINED]
        contexts = through_store(store, contexts, writers, origin)
        names = " or ".join(writers)
        kept = [any(c.rewrites.get(teacher) for teacher in writers) for c in contexts]
        if not any(kept):
            raise DataError(origin, f"no context has a rewrite by {names}", cure="give some a `rewrite`")
        if lost := Counter(c.source for c, taught in zip(contexts, kept, strict=True) if not taught):
            dropped[f"no rewrite by {names}"] = dict(lost)
        contexts = [c for c, taught in zip(contexts, kept, strict=True) if taught]
    teacher = dense_teacher_vectors(encoder, contexts, method.teachers, folder, start)
    golds = tuple(found[found >= 0] for found in (documents.find(list(c.relevant)) for c in contexts))
    share = gold_share((c.source, g) for c, g in zip(contexts, golds, strict=True))
    pool = None
    if method.pool != WHOLE:
        pool = dense_teacher_pool([c.id for c in contexts], teacher, documents, depth=method.depth)
    return DenseLabelled(tuple(contexts), teacher, pool, golds, share, dropped)


def dense_teacher_vectors(
    encoder: DenseStudent,
    contexts: Sequence[Context],
    teachers: Mapping[str, float],
    folder: Path,
    start: DenseStudent | None = None,
) -> NDArray[np.float32]:
    """(C, D) one fused vector a context; the weights are shared among the teachers that context has.

    Raises:
        DataError: a context that none of the teachers rewrote.
        ConfigError: the teacher "untrained" without `start`.
    """
    weights = []
    for context in contexts:
        present = [teacher for teacher in teachers if context.rewrites.get(teacher)]
        if not FusionPlan(teachers).weights_for(present):
            names = " or ".join(teacher for teacher in teachers if teacher != UNTRAINED)
            cause = f"context {context.id!r} has no rewrite by {names}"
            raise DataError(context.source or "contexts", cause, cure="label it, or leave it out")
        weights.append(FusionPlan(teachers).weights_for([*present, UNTRAINED]))
    vectors = {}
    for teacher in teachers:
        if teacher == UNTRAINED:
            if start is None:
                raise ConfigError("teacher 'untrained' needs the untrained student", "give `start`")
            vectors[teacher] = start.encode_queries([c.conversation for c in contexts])
            continue
        rows = [i for i, c in enumerate(contexts) if c.rewrites.get(teacher)]
        vectors[teacher] = np.zeros((len(contexts), encoder.dim), np.float32)
        vectors[teacher][rows] = dense_rewrite_vectors(encoder, [contexts[i].rewrites[teacher] for i in rows], folder)
    return fuse_dense(vectors, weights, encoder.dim)


def build_dense_objective(method: Method) -> Objective:
    """The weighted sum a method names. Over the whole collection, `kld` reads every document's score.

    Raises:
        ConfigError, ObjectiveError: an unknown objective or option, or none.
    """
    return mixed(method, objective_terms(method.objective, OBJECTIVES))


@on_every_process
def fit_dense(
    source: str | Path,
    labelled: DenseLabelled,
    documents: DenseVectors,
    method: Method,
    settings: DenseSettings,
    training: TrainSettings,
    *,
    evaluate: Callable[[DenseStudent], float] | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
) -> tuple[DenseStudent, TrainResult]:
    """Train a student from `source` on labelled contexts.

    Args:
        source: start checkpoint, a folder or model id.
        documents: vectors of the candidate corpus, frozen.
        evaluate: dev figure of a student, larger is better.
        folder: of the checkpoints; None = nothing is kept.
    """
    student = DenseStudent.from_pretrained(source, replace(settings, document_encoder=documents.encoder))
    sampler = None if labelled.pool is None else build_sampler(method, labelled.pool, training.seed)
    data = DenseData(
        names=[c.id for c in labelled.contexts],
        ids=[student.render(c.conversation).ids for c in labelled.contexts],
        teacher=labelled.teacher,
        documents=documents,
        sampler=sampler,
        golds=labelled.golds,
        pad_id=int(student.tokenizer.pad_token_id),
        shared=method.in_batch,
    )
    judge: Evaluate | None = None if evaluate is None else evaluate  # type: ignore[assignment]
    objective = build_dense_objective(method)
    result = train(student, data, objective, training, evaluate=judge, folder=folder, watch=watch)
    return student, result
