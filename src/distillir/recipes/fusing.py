"""Several teachers of a context as one: the vectors that are fused, by which weights, and what they rank.

C contexts, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context
from distillir.encoding import fuse, rewrite_vectors
from distillir.encoding.pool import best
from distillir.errors import ConfigError, DataError
from distillir.labels import FittedWeights, FusionPlan, fit_weights, vector_agreement
from distillir.recipes.method import UNTRAINED, Method
from distillir.sampling import RankedPool, Ranking
from distillir.students.sparse import SparseStudent
from distillir.vectors import CSR, Postings, SparseVectors, csr_from_rows
from distillir.vectors.csr import take_rows

LEAST = 1e-6  # of a fitted weight: a context that only a useless teacher rewrote is still taught by it
FITTED_ON = 100  # documents of a context's ranking that weights are fitted on


@dataclass(frozen=True)
class Fused:
    """What the teachers say of some contexts.

    Attributes:
        vectors: (C, V) fused by weight. Under "max" and "min" no vector has the fused scores; this is the mean's.
        plan: weights and rule.
        members: teacher → (C, V) its own vectors, an empty row where it lacks the context; kept for "max" and "min".
        fit: how the weights were fitted, where they were.
    """

    vectors: CSR
    plan: FusionPlan
    members: Mapping[str, CSR] = field(default_factory=dict)
    fit: FittedWeights | None = None

    def take(self, rows: Sequence[int]) -> Fused:
        """Some of the contexts, in the given order."""
        wanted = np.asarray(rows, np.int64)
        members = {name: take_rows(*one, wanted) for name, one in self.members.items()}
        return Fused(take_rows(*self.vectors, wanted), self.plan, members, self.fit)

    def scores(self, postings: Postings, row: int) -> NDArray[np.float32]:
        """(documents,) fused score of context `row`; 0 where no teacher finds the document."""
        if not self.members:
            return postings.scores(*self.vectors.row(row)).copy()
        queries = [one.row(row) for name, one in self.members.items() if self.plan.weights[name] > 0]
        heard = [query for query in queries if len(query[0])] or queries[:1]
        each = np.stack([postings.scores(*query).copy() for query in heard])
        return np.asarray(each.max(axis=0) if self.plan.rule == "max" else each.min(axis=0), np.float32)

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that a training reads, for a digest."""
        return [array for one in (self.vectors, *self.members.values()) for array in one]


def fused_teacher(
    encoder: SparseStudent,
    contexts: Sequence[Context],
    method: Method,
    folder: Path,
    *,
    start: SparseStudent | None = None,
    documents: SparseVectors | None = None,
    golds: Sequence[NDArray[np.int64]] = (),
) -> Fused:
    """The teachers of a method as one.

    Args:
        encoder: the frozen encoder of rewrites and documents.
        folder: of the stored rewrite vectors.
        start: the student before training, where the teacher "untrained" is named.
        documents: the candidate corpus, and golds: rows of it, of each context; weights are fitted on them.

    Raises:
        DataError: a context that none of the teachers rewrote.
        LabelError: weights that are to be fitted, and no context with gold.
    """
    vectors = member_vectors(encoder, contexts, method.teachers, folder, start)
    if method.fusion in ("max", "min"):
        plan = FusionPlan(method.teachers, "max" if method.fusion == "max" else "min")
        return Fused(by_weight(vectors, contexts, FusionPlan(method.teachers), encoder.dim), plan, vectors)
    plan, fit = FusionPlan(method.teachers), None
    if method.fusion == "fitted":
        if documents is None:
            raise ConfigError("weights to be fitted without documents", "give the candidate corpus and golds")
        fit = fitted(vectors, by_weight(vectors, contexts, plan, encoder.dim), documents, golds)
        plan = FusionPlan({name: max(weight, LEAST) for name, weight in fit.weights.items()})
    trust = None
    if method.fusion == "confidence":
        trust = [vector_agreement(vectors, row) for row in range(len(contexts))]
    return Fused(by_weight(vectors, contexts, plan, encoder.dim, trust), plan, fit=fit)


def member_vectors(
    encoder: SparseStudent,
    contexts: Sequence[Context],
    teachers: Mapping[str, float],
    folder: Path,
    start: SparseStudent | None = None,
) -> dict[str, CSR]:
    """Teacher → (C, V) its vector of each context, an empty row where it has none.

    Raises:
        ConfigError: the teacher "untrained" without `start`.
    """
    nothing = (np.empty(0, np.int32), np.empty(0, np.float32))
    found = {}
    for teacher in teachers:
        if teacher == UNTRAINED:
            if start is None:
                raise ConfigError("teacher 'untrained' needs the untrained student", "give `start`")
            found[teacher] = start.encode_queries([c.conversation for c in contexts])
            continue
        rows = [i for i, c in enumerate(contexts) if c.rewrites.get(teacher)]
        made = rewrite_vectors(encoder, [contexts[i].rewrites[teacher] for i in rows], folder)
        place = dict(zip(rows, range(len(rows)), strict=True))
        parts = [made.row(place[i]) if i in place else nothing for i in range(len(contexts))]
        found[teacher] = csr_from_rows(parts, encoder.dim)
    return found


def by_weight(
    vectors: Mapping[str, CSR],
    contexts: Sequence[Context],
    plan: FusionPlan,
    dim: int,
    confidence: Sequence[Mapping[str, float]] | None = None,
) -> CSR:
    """(C, V) weighted sum of the teachers that each context has, their weights scaled to 1 in all.

    Raises:
        DataError: a context that none of the teachers rewrote.
    """
    weights = []
    for row, context in enumerate(contexts):
        written = [name for name in plan.weights if context.rewrites.get(name)]
        if not plan.weights_for(written):
            raise DataError(
                context.source or "contexts",
                f"context {context.id!r} has no rewrite by {' or '.join(n for n in plan.weights if n != UNTRAINED)}",
                cure="label it, or leave it out",
            )
        weights.append(plan.weights_for([*written, UNTRAINED], confidence[row] if confidence is not None else None))
    return fuse(vectors, weights, dim)


def fitted(
    vectors: Mapping[str, CSR], mean: CSR, documents: SparseVectors, golds: Sequence[NDArray[np.int64]]
) -> FittedWeights:
    """Weights under which the gold of each context is likeliest among what the mean teacher ranks first.

    Raises:
        LabelError: no context with gold that all teachers have.
    """
    postings = documents.invert()
    scores: dict[str, list[NDArray[np.floating] | None]] = {name: [] for name in vectors}
    relevant = []
    for row, gold in enumerate(golds):
        if not len(gold):
            continue
        listed = np.union1d(best(postings.scores(*mean.row(row)), FITTED_ON), gold)
        relevant.append(np.isin(listed, gold))
        for name, one in vectors.items():
            query = one.row(row)
            scores[name].append(postings.scores(*query)[listed].copy() if len(query[0]) else None)
    return fit_weights(scores, relevant)


def ranked(
    names: Sequence[str],
    fused: Fused,
    documents: SparseVectors,
    depth: int,
    golds: Sequence[NDArray[np.int64]],
    own: int | None = None,
) -> RankedPool:
    """What the fused teacher ranks for each context.

    Args:
        names: context ids.
        depth: documents kept a context.
        golds: of each context.
        own: see `label`.
    """
    postings = documents.invert()

    def rankings() -> Iterator[tuple[str, Ranking]]:
        for row, (name, gold) in enumerate(zip(names, golds, strict=True)):
            scores = fused.scores(postings, row)
            if own is not None:
                scores[slice(own, None) if len(gold) else slice(own)] = 0
            top = best(scores, depth)
            yield name, Ranking(top, scores[top])

    return RankedPool.build(rankings(), retriever="teacher")
