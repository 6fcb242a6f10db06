"""A training step over a stored collection: DiSCo's lists, drawn and gathered, or every document."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scale_data import read_queries
from benchmarks.scale_tasks import BATCH, QUERIES
from distillir.conversation import Conversation
from distillir.objectives.contract import Objective
from distillir.quickstart.chats import quickstart_turns
from distillir.recipes import preset
from distillir.recipes.assemble import build_objective, build_penalties, build_rule, build_sampler
from distillir.recipes.method import Method
from distillir.sampling import RankedPool
from distillir.students import SparseStudent, resolve
from distillir.students.batch import SparseBatch, score_documents
from distillir.training import SparseData, Tick, TrainSettings, train
from distillir.vectors import SparseVectors

MODEL = "splade-tiny"
UNTIMED = 2  # the first steps of a run warm up
LOSSES = 3  # batches a round whose loss is timed by itself


def method_of(strategy: str) -> Method:
    """DiSCo as published, "sampled", or the whole "collection". The synthetic teacher's first document is the gold."""
    if strategy == "collection":
        return preset("collection")
    return preset("disco").model_copy(update={"pseudo_gold": True})


def steps_on(folders: Sequence[Path], strategy: str, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step and of making its batch, medians over all rounds, for each folder: the collections take turns.

    `loop_s` is a step of the loop, which makes the next batch beside it; `batch_s` is that batch alone: drawing,
    gathering the candidates' vectors, the teacher's scores. `step_s`, their sum, is a step that waits for its batch.
    `loss_s` is the part of it from the student's vectors to the loss and back.
    """
    student = SparseStudent.from_pretrained(resolve(MODEL))
    untrained = {name: value.clone() for name, value in student.state_dict().items()}
    runs = [made(folder, strategy, steps, student) for folder in folders]
    loop: list[list[float]] = [[] for _ in runs]
    batches: list[list[float]] = [[] for _ in runs]
    losses: list[list[float]] = [[] for _ in runs]
    active: list[float] = []
    for turn in range(rounds):
        for i, (data, method) in enumerate(runs):
            student.load_state_dict(untrained)
            moments: list[float] = []

            def watch(tick: Tick, moments: list[float] = moments) -> None:
                moments.append(time.perf_counter())
                active.append(tick.active or 0.0)

            settings = TrainSettings(batch_size=BATCH, seed=turn)
            objective = build_objective(method, data.documents)
            train(student, data, objective, settings, penalties=build_penalties(method), watch=watch)
            loop[i] += np.diff(moments)[UNTIMED - 1 :].tolist()
            for number in range(steps):
                rows = range(number * BATCH, (number + 1) * BATCH)
                started = time.perf_counter()
                batch = data.collate(rows, rounds + turn)  # an epoch that no training has drawn
                batches[i].append(time.perf_counter() - started)
                if number < LOSSES:
                    losses[i].append(seconds_of_loss(student, batch, objective))
    told = []
    for spent in zip(loop, batches, losses, strict=True):
        loop_s, batch_s, loss_s = (float(np.median(one)) for one in spent)
        told.append({"loop_s": loop_s, "batch_s": batch_s, "step_s": loop_s + batch_s, "loss_s": loss_s})
    return {"collections": told, "active": float(np.mean(active))}


def seconds_of_loss(student: SparseStudent, batch: SparseBatch, objective: Objective) -> float:
    """From the student's vectors of a batch to the loss and back."""
    with torch.no_grad():
        vectors = student.represent(batch.ids, batch.mask)
    vectors.requires_grad_()
    started = time.perf_counter()
    torch.autograd.backward(objective(score_documents(vectors, batch), batch.targets))
    return time.perf_counter() - started


def made(folder: Path, strategy: str, steps: int, student: SparseStudent) -> tuple[SparseData, Method]:
    """One epoch of `steps` batches: the quickstart's conversations, taught by synthetic vectors."""
    documents, method = SparseVectors.open(folder / "vectors"), method_of(strategy)
    count = steps * BATCH
    turns = quickstart_turns()[:count]
    sampler = build_sampler(method, RankedPool.open(folder / "pool"), seed=13) if strategy == "sampled" else None
    data = SparseData(
        names=[str(i) for i in range(len(turns))],
        ids=[student.render(Conversation.from_messages(turn.messages)).ids for turn in turns],
        teacher=read_queries(folder / QUERIES, len(turns)),
        documents=documents,
        sampler=sampler,
        golds=[np.empty(0, np.int64)] * len(turns),
        pad_id=int(student.tokenizer.pad_token_id),
        dim=student.dim,
        shared=method.in_batch,
        rule=build_rule(method),
    )
    return data, method
