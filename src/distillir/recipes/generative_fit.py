"""Distil one generative student: contexts, its own lists and a teacher's labels in, a trained student out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context, Corpus
from distillir.errors import DataError
from distillir.index.identifiers import IdentifierIndex
from distillir.recipes.generative_lists import OwnLists
from distillir.recipes.generative_recipe import GenerativeStage
from distillir.recipes.taught import places_of
from distillir.sampling import CandidateSampler
from distillir.students import GenerativeStudent
from distillir.training import GenerativeData, Tick, TrainResult, TrainSettings, train
from distillir.training.crew import on_every_process
from distillir.training.listed import Kind, Labels
from distillir.training.loop import Evaluate


@dataclass(frozen=True)
class GenerativeLists:
    """What the second training reads beside golds.

    Attributes:
        own: the student's own lists.
        said: context id → document id → rank, 0 = best, or score; empty without a teacher.
        kind, rule: see `RerankData`. least: negatives that a list must have.
    """

    own: OwnLists
    said: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    kind: Kind = "order"
    rule: str | None = None
    least: int = 1


@on_every_process
def fit_generative(
    student: GenerativeStudent,
    contexts: Sequence[Context],
    corpus: Corpus,
    index: IdentifierIndex,
    stage: GenerativeStage,
    settings: TrainSettings,
    *,
    lists: GenerativeLists | None = None,
    evaluate: Callable[[GenerativeStudent], float] | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
) -> TrainResult:
    """One of the two trainings.

    Args:
        student: is trained.
        contexts: those without what the objective reads are left out.
        corpus: passages. index: their identifiers.
        stage: objective and draws. settings: of the loop.
        lists: for a stage that scores.
        evaluate, folder, watch: see `train`.

    Raises:
        DataError: no context is left.
    """
    golds = [np.array(sorted(places_of(c.relevant, corpus)), np.int64) for c in contexts]
    if lists is None:
        rows = [i for i in range(len(contexts)) if len(golds[i])]
        data = _data(student, [contexts[i] for i in rows], [golds[i] for i in rows], index, stage, settings)
    else:
        data = _listed(student, contexts, golds, corpus, index, stage, settings, lists)
    judge: Evaluate | None = evaluate  # type: ignore[assignment]
    return train(student, data, stage.build_objective(), settings, evaluate=judge, folder=folder, watch=watch)


def _listed(
    student: GenerativeStudent,
    contexts: Sequence[Context],
    golds: Sequence[NDArray[np.int64]],
    corpus: Corpus,
    index: IdentifierIndex,
    stage: GenerativeStage,
    settings: TrainSettings,
    lists: GenerativeLists,
) -> GenerativeData:
    """Contexts that can be learnt from: with a gold in their own list where one is read, labels, and negatives."""
    rows: list[int] = []
    kept: list[NDArray[np.int64]] = []
    labels: list[Labels] = []
    for i, context in enumerate(contexts):
        found = lists.own.rankings[context.id].positions
        inside = golds[i][np.isin(golds[i], found)]
        told = places_of(lists.said.get(context.id, {}), corpus)
        told = {position: value for position, value in told.items() if position in set(found.tolist())}
        others = len(found) - len(inside)
        if stage.taught and (lists.kind == "scores" or lists.rule is not None):
            inside = inside[np.isin(inside, list(told))]  # what has no score leaves the list, a gold too
            others = len(told) - len(inside)
        unfit = (stage.reads_gold and not len(inside)) or (stage.taught and not told)
        if unfit or others < lists.least:
            continue
        rows.append(i)
        kept.append(inside if stage.reads_gold else golds[i])
        labels.append(told)
    chosen = [contexts[i] for i in rows]
    keys = [lists.own.keys[c.id] for c in chosen]
    sampler = CandidateSampler(lists.own.pool(), stage.build_draw(), seed=settings.seed, gold=stage.gold)
    return _data(
        student,
        chosen,
        kept,
        index,
        stage,
        settings,
        keys=keys,
        sampler=sampler,
        labels=labels if stage.taught else None,
        kind=lists.kind,
        rule=lists.rule,
        lists=stage.lists,
        most_keys=stage.most_keys,
    )


def _data(
    student: GenerativeStudent,
    contexts: Sequence[Context],
    golds: Sequence[NDArray[np.int64]],
    index: IdentifierIndex,
    stage: GenerativeStage,
    settings: TrainSettings,
    **listed: object,
) -> GenerativeData:
    if not contexts:
        lacking = "has a relevant document in the corpus"
        if listed:
            lacking = "has what the objective reads: a relevant document in its own list, labels, negatives"
        raise DataError(
            "contexts", f"none {lacking}", cure="check contexts and labels, or train the first stage longer"
        )
    views = student.settings.views
    return GenerativeData(
        names=[c.id for c in contexts],
        prompts=[{view.name: student.reader.prompt(c.conversation, view) for view in views} for c in contexts],
        queries=[_asked(student, c) for c in contexts],
        golds=golds,
        views=views if stage.writes else (),
        texts=index,
        reader=student.reader,
        end=student.end,
        seed=settings.seed,
        spans=stage.spans,
        temperature=stage.temperature,
        **listed,  # type: ignore[arg-type]
    )


def _asked(student: GenerativeStudent, context: Context) -> list[int]:
    """Tokens of every question of a conversation."""
    questions = [context.conversation.question, *(one.question for one in context.conversation.exchanges)]
    return [token for question in questions for token in student.reader.text(question)]
