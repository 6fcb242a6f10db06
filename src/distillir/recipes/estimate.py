"""What a run will take, before anything long is done: the recipe itself, on a sample, measured stage by stage.

A sample of the documents is encoded, a sample of the contexts is labelled, and a few steps are trained on them, in a
folder that is removed at the end. Time and disk of what grows with the corpus, the candidate corpus or the contexts are
scaled to all, each by its own ratio.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from distillir.errors import ConfigError, LabelError
from distillir.recipes.estimate_sample import STEPS, Sample, Share, sample_of
from distillir.recipes.estimate_scale import Scales, scaled_disk, scaled_seconds
from distillir.recipes.progress import recorded
from distillir.training import TrainSettings
from distillir.training.crew import processes


@dataclass(frozen=True)
class RunEstimate:
    """What a run will take.

    Attributes:
        documents: of the recipe's corpus. candidates: of its candidate corpus, 0 without one.
        contexts: that it learns from, queries, crops and questions among them. steps: of all its trainings, at most.
        seconds: stage → seconds.
        memory_mb: of the process, at its peak. accelerator_mb: of the accelerator, 0 without one.
        disk_mb: part of the run folder → size.
        measured: documents, candidates, contexts and steps that this was measured on.
    """

    documents: int
    candidates: int
    contexts: int
    steps: int
    seconds: dict[str, float]
    memory_mb: float
    accelerator_mb: float
    disk_mb: dict[str, float]
    measured: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def text(self) -> str:
        """A line each for time, memory and disk."""
        spent = ", ".join(f"{name} {_time(value)}" for name, value in self.seconds.items())
        others = f"{self.candidates:,} candidates, " if self.candidates else ""
        kept = ", ".join(f"{name} {value:,.0f}" for name, value in self.disk_mb.items())
        lines = [
            f"{self.documents:,} documents, {others}{self.contexts:,} contexts, at most {self.steps:,} steps",
            f"time      about {_time(sum(self.seconds.values()))}: {spent}",
            f"memory    about {self.memory_mb:,.0f} MB"
            + (f", {self.accelerator_mb:,.0f} MB of the accelerator" if self.accelerator_mb else ""),
            f"disk      about {sum(self.disk_mb.values()):,.0f} MB: {kept}",
            "measured on " + ", ".join(f"{value:,} {name}" for name, value in self.measured.items()),
        ]
        return "\n".join(lines)


def estimate_run(recipe: Any, run: Callable[[Any], object]) -> RunEstimate:
    """Measure a recipe on a sample of its data.

    The search that a dev figure takes is measured on the sample, so a large corpus evaluates slower than is said here;
    the second training of a generative student needs labels of the first one's lists, and is left out.

    Args:
        recipe: of any student.
        run: runs such a recipe.

    Raises:
        ConfigError: nothing to learn from, or several processes.
        DistillirError: whatever would stop the run itself, such as missing labels.
    """
    if processes() > 1:
        raise ConfigError("an estimate measures one process", "run it without torchrun or accelerate launch")
    if recipe.train is None and not any(getattr(recipe, name, None) for name in ("queries", "crops", "questions")):
        raise ConfigError("train: the recipe names no train contexts, nor anything else to learn from", "name them")
    place = recipe.out.parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".estimate-", dir=place) as name:
        folder = Path(name)
        sample = sample_of(recipe, folder)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            with recorded() as marks:
                run(sample.recipe)
        except LabelError as error:
            if str(folder) not in error.cure:
                raise
            # Its command is about files of the sample, which nobody will find.
            raise LabelError(error.cause, "run the recipe, which says how to label; then estimate it") from error
        scales = _scales(sample)
        every = settings_of(recipe)[: len(settings_of(sample.recipe))]
        steps = [_steps(one, count) for one, count in zip(every, _learnt(recipe, sample), strict=True)]
        disk = scaled_disk(folder / "run", scales)
        spent = scaled_seconds(marks, scales, every, steps)
    documents, candidates, learnt = sample.documents, sample.candidates, sample.learnt
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    # Tables of ids, 16 bytes each, of corpus, vectors and what is searched, or of candidates and what both are as one.
    grown = 48 * (documents.whole - documents.taken + candidates.whole - candidates.taken) / 2**20
    depth = getattr(recipe.chosen_method(), "depth", 0)
    grown += 16 * depth * (learnt.whole - learnt.taken) / 2**20  # rankings
    measured = {"documents": documents.taken, "contexts": learnt.taken, "steps": STEPS * len(every)}
    if candidates.whole:
        measured["candidates"] = candidates.taken
    return RunEstimate(
        documents.whole, candidates.whole, learnt.whole, sum(steps), spent, peak + grown,
        torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        disk, measured,
    )  # fmt: skip


def settings_of(recipe: Any) -> list[TrainSettings]:
    """Settings of each training of a recipe, in order."""
    method = recipe.chosen_method()
    if hasattr(method, "stages"):
        return [recipe.train_settings(stage) for stage in method.stages]
    if hasattr(method, "learn"):
        return [recipe.train_settings(stage) for stage in (method.learn, method.rank) if stage is not None]
    return [recipe.train_settings()]


def _learnt(recipe: Any, sample: Sample) -> list[int]:
    """How many contexts, queries, crops and questions each training of the whole recipe learns from, at most."""
    stages = getattr(recipe.chosen_method(), "stages", None)
    if stages is None:
        return [sample.learnt.whole]
    return [sample.crops if stage.queries == "crops" else sample.learnt.whole for stage in stages]


def _scales(sample: Sample) -> Scales:
    documents, others = sample.documents, sample.candidates
    both = Share(documents.whole + others.whole, documents.taken + others.taken)
    return Scales(documents.scale, others.scale, both.scale, sample.learnt.scale, sample.dev.scale)


def _steps(settings: TrainSettings, contexts: int) -> int:
    per_epoch = math.ceil(contexts / (settings.batch_size * settings.accumulate))
    return min(settings.epochs * per_epoch, settings.max_steps or settings.epochs * per_epoch)


def _time(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"
