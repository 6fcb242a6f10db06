"""Distil one sparse student: contexts and stored documents in, a trained student out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillir.data import Context
from distillir.errors import DataError, SamplingError
from distillir.labels import LabelStore
from distillir.recipes.assemble import build_control, build_objective, build_penalties, build_rule, build_sampler
from distillir.recipes.fusing import Fused, fused_teacher, ranked
from distillir.recipes.marks import labelled_digest
from distillir.recipes.method import Method
from distillir.recipes.stored import through_store
from distillir.sampling import CandidateSampler, RankedPool, gold_share
from distillir.students.batch import StoredRows
from distillir.students.sparse import SparseSettings, SparseStudent
from distillir.training import SparseData, Tick, TrainResult, TrainSettings, train
from distillir.training.contract import Probe
from distillir.training.crew import on_every_process
from distillir.training.loop import Evaluate
from distillir.vectors import CSR, SparseVectors

PROBES = 256


@dataclass(frozen=True)
class Labelled:
    """Contexts with what the teachers say of them, computed once and shared by every student.

    Attributes:
        contexts: what is learnt from.
        fused: the teachers of each, as one.
        pool: what the teacher ranks for each; None for a method over the whole collection.
        golds: positions of each context's relevant documents in the candidate corpus.
        gold_share: share of contexts with gold, by source.
        dropped: reason → source → contexts that were left out for it.
    """

    contexts: tuple[Context, ...]
    fused: Fused
    pool: RankedPool | None
    golds: tuple[np.ndarray, ...]
    gold_share: dict[str, float]
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def teacher(self) -> CSR:
        """Fused teacher vector of each."""
        return self.fused.vectors

    def take(self, rows: Sequence[int]) -> Labelled:
        """Some of the contexts, in the given order; nothing is computed again."""
        contexts = tuple(self.contexts[i] for i in rows)
        golds = tuple(self.golds[i] for i in rows)
        share = gold_share((c.source, g) for c, g in zip(contexts, golds, strict=True))
        return Labelled(contexts, self.fused.take(rows), self.pool, golds, share, self.dropped)

    def digest(self) -> str:
        """Hash of all that a training reads of it: conversations, teacher vectors, golds."""
        return labelled_digest(self.contexts, self.golds, self.fused.arrays())


def label(
    contexts: Sequence[Context],
    encoder: SparseStudent,
    documents: SparseVectors,
    method: Method,
    folder: Path,
    *,
    start: SparseStudent | None = None,
    store: LabelStore | None = None,
    origin: str = "contexts",
    own: int | None = None,
) -> Labelled:
    """Teacher vectors and gold positions of contexts.

    Args:
        encoder: the frozen encoder of documents and rewrites.
        documents: vectors of the candidate corpus. A gold that is not in it is no gold here.
        folder: of the stored rewrite vectors.
        start: the student before training, where the method names the teacher "untrained".
        store: of labels; rewrites go into it and are read from it, and contexts without any are dropped and counted.
        origin: name and version of the file the contexts come from, for the store.
        own: row of `documents` from which on contexts without gold draw; those with gold draw from the rows before.
            None = all draw from all.

    Raises:
        DataError: without a store, a context that none of the teachers rewrote; with one, if that is all of them.
    """
    dropped: dict[str, dict[str, int]] = {}
    said_by = " or ".join(method.writers)
    if store is not None:
        contexts = through_store(store, contexts, method.writers, origin)
        heard = [teacher for teacher, weight in method.writers.items() if weight]
        taught = [c for c in contexts if any(c.rewrites.get(t) for t in heard)]
        if not taught:
            raise DataError(origin, f"no context has a rewrite by {said_by}", cure="give some a `rewrite`")
        if len(taught) < len(contexts):
            kept = {c.id for c in taught}
            dropped[f"no rewrite by {said_by}"] = _by_source(c for c in contexts if c.id not in kept)
        contexts = taught
    golds = tuple(_rows(documents.find(list(c.relevant)), own) for c in contexts)
    share = gold_share((c.source, g) for c, g in zip(contexts, golds, strict=True))
    fused = fused_teacher(encoder, contexts, method, folder, start=start, documents=documents, golds=golds)
    pool = None
    if method.pool == "teacher_ranks":
        pool = ranked([c.id for c in contexts], fused, documents, method.depth, golds, own)
    return Labelled(tuple(contexts), fused, pool, golds, share, dropped)


def drawable(labelled: Labelled, documents: SparseVectors, method: Method) -> Labelled:
    """Without the contexts that a method cannot serve, which are counted.

    A rewrite of nothing but unknown words matches no document, and a short ranking may not reach a draw's band. One
    such context would end a training hours after it began.

    Raises:
        SamplingError: no context is left.
    """
    if labelled.pool is not None:
        sampler = build_sampler(method, labelled.pool, seed=0)
        complaints = [_complaint(sampler, c.id, g) for c, g in zip(labelled.contexts, labelled.golds, strict=True)]
    else:
        held = documents.document_frequency() > 0
        rows = (labelled.teacher.row(i)[0] for i in range(len(labelled.contexts)))
        complaints = ["" if held[dims].any() else "the teacher finds no document" for dims in rows]
    kept = [i for i, complaint in enumerate(complaints) if not complaint]
    if len(kept) == len(complaints):
        return labelled
    if not kept:
        raise SamplingError(f"no context can be drawn for: {complaints[0]}", "check rewrites and corpus, or the draw")
    lost = [i for i, complaint in enumerate(complaints) if complaint]
    why = "the teacher ranks too few documents"
    counts = {why: _by_source(labelled.contexts[i] for i in lost)}
    return replace(labelled.take(kept), dropped={**labelled.dropped, **counts})


@on_every_process
def fit(
    source: str | Path,
    labelled: Labelled,
    documents: SparseVectors,
    method: Method,
    settings: SparseSettings,
    training: TrainSettings,
    *,
    evaluate: Callable[[SparseStudent], float] | None = None,
    probe: Sequence[Context] = (),
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
    screen: bool = False,
) -> tuple[SparseStudent, TrainResult]:
    """Train a student from `source` on labelled contexts.

    Args:
        source: start checkpoint, a folder or model id.
        documents: vectors of the candidate corpus, frozen.
        evaluate: dev figure of a student, larger is better.
        probe: contexts that a sparsity target is counted on, no relevant documents needed; none = those learnt from.
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
        members=tuple(labelled.fused.members.values()),
        plan=labelled.fused.plan,
        turns=[c.conversation.depth for c in labelled.contexts],
    )
    judge: Evaluate | None = None if evaluate is None else evaluate  # type: ignore[assignment]
    result = train(
        student,
        data,
        build_objective(method, documents),
        training,
        penalties=build_penalties(method, documents),
        control=build_control(method, documents),
        probe=_probe(student, probe or labelled.contexts),
        evaluate=judge,
        folder=folder,
        watch=watch,
    )
    return student, result


def _probe(student: SparseStudent, contexts: Sequence[Context]) -> Probe:
    """What the student makes of up to `PROBES` contexts, evenly spread over those given."""
    size = min(PROBES, len(contexts))
    asked = [contexts[i * len(contexts) // size].conversation for i in range(size)]

    def vectors() -> tuple[Tensor, Tensor]:
        rows = StoredRows.from_csr(student.encode_queries(asked)).dense(student.dim)
        return rows, torch.tensor([conversation.depth for conversation in asked])

    return vectors


def _rows(found: NDArray[np.int64], own: int | None) -> NDArray[np.int64]:
    return found[(found >= 0) & (found < own)] if own is not None else found[found >= 0]


def _complaint(sampler: CandidateSampler, name: str, golds: NDArray[np.int64]) -> str:
    try:
        sampler(name, golds, 0)
    except SamplingError as error:
        return error.cause
    return ""


def _by_source(contexts: Iterable[Context]) -> dict[str, int]:
    return dict(Counter(c.source for c in contexts))
