"""Distil one reranker: contexts, candidates and a teacher's lists in, a trained student out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context, Corpus
from distillir.errors import DataError
from distillir.objectives.contract import Objective
from distillir.recipes.taught import places_of
from distillir.sampling import CandidateSampler, RankedPool, Ranking
from distillir.sampling.candidates import GoldPolicy
from distillir.sampling.draw import Draw
from distillir.students import Reranker
from distillir.training import RerankData, Tick, TrainResult, TrainSettings, train
from distillir.training.crew import on_every_process
from distillir.training.listed import Kind
from distillir.training.loop import Evaluate


@dataclass(frozen=True)
class RerankLabelled:
    """Queries with their candidates and what a teacher said of them.

    Attributes:
        contexts: queries.
        pool: candidates of each.
        golds: positions of each one's relevant documents.
        labels: of each, position → rank (0 = best) or score; empty where the teacher said nothing.
        kind: what labels are. rule: makes scores of ranks.
    """

    contexts: tuple[Context, ...]
    pool: RankedPool
    golds: tuple[NDArray[np.int64], ...]
    labels: tuple[Mapping[int, float], ...]
    kind: Kind = "order"
    rule: str | None = None

    def where(self, keep: Callable[[int], bool]) -> RerankLabelled:
        """Those contexts whose index passes."""
        rows = [i for i in range(len(self.contexts)) if keep(i)]
        return RerankLabelled(
            tuple(self.contexts[i] for i in rows),
            self.pool,
            tuple(self.golds[i] for i in rows),
            tuple(self.labels[i] for i in rows),
            self.kind,
            self.rule,
        )


def label_lists(
    contexts: Sequence[Context],
    pool: RankedPool,
    corpus: Corpus,
    said: Mapping[str, Mapping[str, float]],
    *,
    kind: Kind = "order",
    rule: str | None = None,
) -> RerankLabelled:
    """Bring candidates, golds and a teacher's lists together; contexts without candidates are left out.

    A document that the teacher speaks of and no retriever found joins the end of the list.

    Args:
        contexts: queries.
        pool: candidates by context id.
        corpus: what positions are of. Documents that it lacks are ignored.
        said: context id → document id → rank or score.
        kind, rule: see `RerankLabelled`.

    Raises:
        DataError: no context has candidates.
    """
    kept, golds, labels, rankings = [], [], [], []
    for context in contexts:
        ranking = pool.get(context.id)
        places = places_of(said.get(context.id, {}), corpus)
        if ranking is None and not places:
            continue
        listed = np.empty(0, np.int64) if ranking is None else ranking.positions
        extra = np.array([p for p in places if p not in set(listed.tolist())], np.int64)
        positions = np.concatenate([listed, extra])
        if len(positions) < 2:
            continue
        rankings.append((context.id, Ranking(positions, -np.arange(len(positions), dtype=np.float32))))
        kept.append(context)
        labels.append(places)
        golds.append(np.array(sorted(places_of(context.relevant, corpus)), np.int64))
    if not kept:
        raise DataError(
            "candidates", "no query has two of them", cure="check that retrievers and corpus belong together"
        )
    return RerankLabelled(tuple(kept), RankedPool.build(rankings), tuple(golds), tuple(labels), kind, rule)


@on_every_process
def fit_stage(
    student: Reranker,
    labelled: RerankLabelled,
    corpus: Corpus,
    objective: Objective,
    draw: Draw,
    settings: TrainSettings,
    *,
    gold: GoldPolicy = "none",
    chunk_tokens: int = 8192,
    evaluate: Callable[[Reranker], float] | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
) -> TrainResult:
    """Train a student on what one objective can read; contexts without a gold, or without labels, are left out where
    the objective needs them, and so are candidates without a score where it reads scores.

    Raises:
        DataError: nothing is left.
    """
    taught = bool(objective.reads_targets & {"order", "scores"})
    needs_gold = not taught and "gold" in objective.reads_targets
    labels, golds = labelled.labels, labelled.golds
    chosen = labelled.where(lambda i: (bool(labels[i]) or not taught) and (len(golds[i]) > 0 or not needs_gold))
    if "scores" in objective.reads_targets:
        chosen = _scored_only(chosen)
    if not chosen.contexts:
        lacking = "a teacher's labels" if taught else "a relevant document in the corpus"
        raise DataError("contexts", f"none has {lacking}, which {objective.name} needs", cure="label them first")
    data = RerankData(
        names=[c.id for c in chosen.contexts],
        queries=[student.reader.query(c.conversation) for c in chosen.contexts],
        passages=corpus,
        sampler=CandidateSampler(chosen.pool, draw, seed=settings.seed, gold=gold),
        golds=chosen.golds,
        labels=chosen.labels if taught else None,
        reader=student.reader,
        kind=chosen.kind,
        rule=chosen.rule,
        budget=chunk_tokens,
    )
    judge: Evaluate | None = evaluate  # type: ignore[assignment]
    return train(student, data, objective, settings, evaluate=judge, folder=folder, watch=watch)


def _scored_only(labelled: RerankLabelled) -> RerankLabelled:
    """Lists of what has a score, two of them at least: a list that is drawn is then never without one."""
    chosen = labelled.where(lambda i: len(labelled.labels[i]) > 1)
    if not chosen.contexts:
        return chosen
    rankings = []
    for context, labels in zip(chosen.contexts, chosen.labels, strict=True):
        listed = chosen.pool[context.id]
        kept = np.isin(listed.positions, list(labels))
        rankings.append((context.id, Ranking(listed.positions[kept], listed.scores[kept])))
    return replace(chosen, pool=RankedPool.build(rankings))
