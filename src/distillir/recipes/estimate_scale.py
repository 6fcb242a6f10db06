"""Figures of a small run scaled to the whole one: each by what it grows with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distillir.recipes.estimate_sample import STEPS
from distillir.recipes.progress import Mark
from distillir.training import TrainSettings

BY_DOCUMENT = ("corpus.arrow", "corpus.vectors", "index", "responses.index", "responses.jsonl", "identifiers")
BY_CANDIDATE = ("candidates.arrow", "candidates.vectors")
BY_CONTEXT = ("rewrites", "labels.sqlite", "queries.jsonl", "contexts.jsonl", "candidates.trec")
OWN, OTHERS, JOINED = "corpus.vectors", "candidates.vectors", "joined.vectors"


@dataclass(frozen=True)
class Scales:
    """The whole over the sample.

    Attributes:
        document: of the corpus. candidate: of the candidate corpus. joined: of both as one.
        context: of what is learnt from. dev: of what is selected by.
    """

    document: float
    candidate: float
    joined: float
    context: float
    dev: float


def scaled_seconds(
    marks: Sequence[Mark], scales: Scales, settings: Sequence[TrainSettings], steps: Sequence[int]
) -> dict[str, float]:
    """Stage → seconds of the whole run, from what was seen of the small one.

    Args:
        marks: of the small run.
        scales: see `Scales`.
        settings: of each training of the whole run, and its steps.
        steps: of each training.
    """
    spent: dict[str, float] = {}

    def add(name: str, seconds: float) -> None:
        spent[name] = spent.get(name, 0.0) + max(0.0, seconds)

    trainings: list[list[Mark]] = []
    for before, now in itertools.pairwise(marks):
        took = now.moment - before.moment
        if now.step == 1:
            trainings.append([])
        if now.step:
            trainings[-1].append(now)
        elif now.name.startswith("encode candidates"):
            add("encode candidates", took * scales.candidate)
        elif now.name.startswith("encode"):
            add("encode", took * scales.document)
        elif before.name.startswith("encode candidates"):
            add("join", took * scales.joined)
        elif before.name == "label":
            add("label", took * scales.context)
        elif before.name.startswith("index"):
            add("index", took * scales.document)
    for seen, one, count in zip(trainings, settings, steps, strict=False):
        if len(seen) < STEPS - 1:
            continue
        # The first step warms up; the last one is followed by the evaluation.
        each = (seen[-2].moment - seen[0].moment) / (len(seen) - 2)
        add("train", each * count)
        evaluation = seen[-1].moment - seen[-2].moment - each
        per_epoch = max(1, count // max(1, one.epochs))
        add("evaluate on dev", evaluation * scales.dev * max(1, count // (one.evaluate_every or per_epoch)))
    return spent


def scaled_disk(folder: Path, scales: Scales) -> dict[str, float]:
    """Part of a run folder → megabytes of the whole run; what stays below 0.05 is left out."""
    sizes = {item.name: _megabytes(item) for item in sorted(folder.iterdir())}
    scale = {
        **dict.fromkeys(BY_DOCUMENT, scales.document),
        **dict.fromkeys(BY_CANDIDATE, scales.candidate),
        **dict.fromkeys(BY_CONTEXT, scales.context),
        "checkpoints": 3.0,  # one lies here: two are kept, and a third is written beside them
    }
    if parts := sizes.get(OWN, 0.0) + sizes.get(OTHERS, 0.0):
        # Rows of the two corpora differ in size, so it grows as the bytes of its parts do.
        scale[JOINED] = (sizes.get(OWN, 0.0) * scales.document + sizes.get(OTHERS, 0.0) * scales.candidate) / parts
    whole = {name: size * scale.get(name, 1.0) for name, size in sizes.items()}
    return {name: size for name, size in whole.items() if size >= 0.05}


def _megabytes(item: Path) -> float:
    files = [item] if item.is_file() else [path for path in item.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 2**20
