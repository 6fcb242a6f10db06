"""The trainings of an ablation: each is a function of its recipe, part and seed, done once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from distillir.data import Context
from distillir.evaluation import SystemResult
from distillir.recipes.fit import Labelled, drawable, fit, label
from distillir.recipes.marks import context_facts, told_by, write_text
from distillir.recipes.measure import TestBed
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.systems import conversation
from distillir.students import SparseStudent
from distillir.training import Tick
from distillir.vectors import SparseVectors


@dataclass(frozen=True)
class Part:
    """What one training learns from and what it is measured on; no conversation is in both.

    Attributes:
        name: such as "fold 2".
        train: contexts to learn from.
        bed: held out.
        probe: what a sparsity target is counted on; none = some of those learnt from.
    """

    name: str
    train: Sequence[Context]
    bed: TestBed
    probe: Sequence[Context] = ()


@dataclass(frozen=True)
class Job:
    """What one training came to.

    Attributes:
        run, active, flops: of every context of the part's bed, see `SystemResult`.
        training: how the training ended, as `TrainResult` has it.
    """

    run: dict[str, dict[str, float]]
    active: dict[str, float]
    flops: dict[str, float]
    training: dict[str, Any]


@dataclass
class Jobs:
    """Does trainings and keeps what they came to in a folder; a kept one is not done again.

    Attributes:
        encoder: the frozen encoder of rewrites and documents.
        gate: the untrained gate, which is the teacher "untrained" and a baseline.
        documents: vectors of the candidate corpus; own: see `label`.
        source: start checkpoint of the students.
        folder: of the kept jobs. rewrites: of the stored rewrite vectors.
    """

    encoder: SparseStudent
    gate: SparseStudent
    documents: SparseVectors
    source: Path | str
    folder: Path
    rewrites: Path
    own: int | None = None
    _taught: dict[str, Labelled] = field(default_factory=dict)

    def get(self, recipe: SparseRecipe, part: Part, seed: int, watch: Callable[[Tick], None] = lambda _: None) -> Job:
        """The job of a recipe on a part under a seed, trained unless it is kept."""
        path = self.folder / f"{self.key(recipe, part, seed)}.json"
        if path.is_file():
            return Job(**json.loads(path.read_text(encoding="utf-8")))
        job = self._done(recipe, part, seed, watch)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(job)))
        return job

    def has(self, recipe: SparseRecipe, part: Part, seed: int) -> bool:
        """Whether the job is kept."""
        return (self.folder / f"{self.key(recipe, part, seed)}.json").is_file()

    def key(self, recipe: SparseRecipe, part: Part, seed: int) -> str:
        """Hash of all that a job depends on."""
        training = asdict(replace(recipe.train_settings(), seed=seed))
        return told_by(
            method=recipe.chosen_method().model_dump(),
            student=asdict(recipe.student_settings()),
            training=training,
            train=[[*context_facts(c), dict(c.rewrites)] for c in part.train],
            held=[context_facts(c) for c in part.bed.contexts],
            **({"probe": [context_facts(c) for c in part.probe]} if part.probe else {}),
            documents=[self.documents.fingerprint, self.own],
            searched=[vectors.fingerprint for vectors in part.bed.documents.values()],
            start=self.encoder.fingerprint(),
        )[:24]

    def _done(self, recipe: SparseRecipe, part: Part, seed: int, watch: Callable[[Tick], None]) -> Job:
        method = recipe.chosen_method()
        student, result = fit(
            self.source,
            drawable(self._labelled(recipe, part), self.documents, method),
            self.documents,
            method,
            recipe.student_settings(),
            replace(recipe.train_settings(), seed=seed),
            probe=part.probe,
            watch=watch,
            screen=recipe.screen,
        )
        found = part.bed.measure("job", conversation(student))
        run = {query: dict(scores) for query, scores in found.run.items()}
        return Job(run, dict(found.active or {}), dict(found.flops or {}), asdict(result))

    def _labelled(self, recipe: SparseRecipe, part: Part) -> Labelled:
        """Labels of a part, shared by all recipes whose teachers and rankings are the same."""
        method = recipe.chosen_method()
        told = told_by(
            part=[[c.id, dict(c.rewrites)] for c in part.train],
            method=[method.teachers, method.fusion, method.pool, method.depth],
        )
        if told not in self._taught:
            heard = [teacher for teacher, weight in method.writers.items() if weight]
            taught = [c for c in part.train if any(c.rewrites.get(teacher) for teacher in heard)]
            made = label(taught, self.encoder, self.documents, method, self.rewrites, start=self.gate, own=self.own)
            self._taught = {told: made}  # the last one only: rankings of many parts would fill the memory
        return self._taught[told]


def pooled(name: str, jobs: Sequence[tuple[int, Job]], note: str = "") -> SystemResult:
    """Jobs of one recipe as one system whose queries are (context, seed): a conversation's stay one cluster.

    Args:
        name: of the system.
        jobs: with the seed of each.
    """
    run, active, flops = {}, {}, {}
    for seed, job in jobs:
        for query, found in job.run.items():
            run[seeded(query, seed)] = found
            active[seeded(query, seed)] = job.active[query]
            flops[seeded(query, seed)] = job.flops[query]
    return SystemResult(name, run, active=active, flops=flops, note=note)


def seeded(query: str, seed: int) -> str:
    """Name of a query under a seed."""
    return f"{query} seed {seed}"
