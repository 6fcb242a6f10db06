"""Distil one response student: contexts, a set of responses and a teacher's scores in, a trained student out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context, ResponseRules, ResponseSet, join_responses
from distillir.errors import DataError, LabelError
from distillir.recipes.response_recipe import ResponseMethod
from distillir.students import ResponseStudent
from distillir.training import ResponseData, Tick, TrainResult, TrainSettings, train
from distillir.training.crew import on_every_process
from distillir.training.loop import Evaluate


@dataclass(frozen=True)
class ResponseLabelled:
    """What a response student learns from.

    Attributes:
        responses: golds first, `golds` of them, then generated ones.
        contexts: what is learnt from. positives: positions of each one's own candidates.
        scores: of each, position → the teacher's score; None without a teacher.
        left_out: why → how many responses and contexts.
    """

    responses: ResponseSet
    golds: int
    contexts: tuple[Context, ...]
    positives: tuple[NDArray[np.int64], ...]
    scores: tuple[Mapping[int, float], ...] | None
    left_out: Counter[str]


def join_labelled(
    responses: ResponseSet,
    contexts: Sequence[Context],
    generated: Mapping[str, Mapping[str, Sequence[str]]],
    rules: ResponseRules,
    per_context: int | None = None,
) -> ResponseLabelled:
    """The data level; see `join_responses`.

    Raises:
        DataError: no context has a response.
    """
    made = join_responses(responses, contexts, generated, rules, per_context=per_context)
    if not made.contexts:
        raise DataError("contexts", "none has a response of the set", cure="give them ids of responses as `relevant`")
    positives = tuple(
        np.array(sorted(made.responses.position(name) for name in c.relevant), np.int64) for c in made.contexts
    )
    golds = len(rules.screen(responses)[0])
    return ResponseLabelled(made.responses, golds, made.contexts, positives, None, made.left_out)


def score_labelled(labelled: ResponseLabelled, said: Mapping[str, Mapping[str, float]]) -> ResponseLabelled:
    """With a teacher's scores: context id → response id → score. Contexts without any are left out and counted.

    Raises:
        LabelError: no own candidate of any context has a score.
    """
    found = []
    for context, positives in zip(labelled.contexts, labelled.positives, strict=True):
        own = {int(position) for position in positives}
        told = {
            labelled.responses.position(name): score
            for name, score in said.get(context.id, {}).items()
            if name in labelled.responses
        }
        found.append({position: score for position, score in told.items() if position in own})
    rows = [i for i, scores in enumerate(found) if scores]
    if not rows:
        raise LabelError("the teacher's scores are of other responses or contexts", "label these candidates")
    left_out = labelled.left_out + Counter({"context: without a score": len(found) - len(rows)})
    return ResponseLabelled(
        labelled.responses,
        labelled.golds,
        tuple(labelled.contexts[i] for i in rows),
        tuple(labelled.positives[i] for i in rows),
        tuple(found[i] for i in rows),
        +left_out,
    )


@on_every_process
def fit_response(
    student: ResponseStudent,
    labelled: ResponseLabelled,
    method: ResponseMethod,
    training: TrainSettings,
    *,
    chunk_tokens: int = 16384,
    evaluate: Callable[[ResponseStudent], float] | None = None,
    folder: Path | None = None,
    watch: Callable[[Tick], None] = lambda _: None,
) -> TrainResult:
    """Train a student on labelled contexts, in place.

    Args:
        chunk_tokens: tokens of responses whose activations are held at a time.
        evaluate: dev figure of a student, larger is better.
        folder: of the checkpoints; None = nothing is kept.
    """
    data = ResponseData(
        names=[c.id for c in labelled.contexts],
        ids=[student.contexts.render(c.conversation).ids for c in labelled.contexts],
        positives=labelled.positives,
        responses=labelled.responses,
        tokens=student.response_tower.document_ids,
        pad_id=int(student.contexts.tokenizer.pad_token_id),
        scores=labelled.scores if method.taught else None,
        negatives=method.negatives,
        own=method.own,
        seed=training.seed,
        budget=chunk_tokens,
    )
    judge: Evaluate | None = None if evaluate is None else evaluate  # type: ignore[assignment]
    return train(student, data, method.build_objective(), training, evaluate=judge, folder=folder, watch=watch)
