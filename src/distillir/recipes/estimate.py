"""What a run will take, before anything long is done: the recipe itself, on a sample, measured stage by stage.

A sample of the documents is encoded, a sample of the contexts is labelled, and a few steps are trained on them, in a
folder that is removed at the end. Time and disk of what grows with the corpus or the contexts are scaled to all.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from distillir.data import Context, Document, read_contexts, read_documents, write_contexts
from distillir.data.reading import ReadingReport, read_folder
from distillir.errors import ConfigError
from distillir.recipes.progress import Mark, recorded
from distillir.training import TrainSettings
from distillir.training.crew import processes

DOCUMENTS, CONTEXTS, DEV, STEPS = 1500, 64, 16, 5
BY_DOCUMENT = ("corpus.arrow", "corpus.vectors", "index", "responses.index", "identifiers")
BY_CONTEXT = ("rewrites", "labels.sqlite")


@dataclass(frozen=True)
class RunEstimate:
    """What a run will take.

    Attributes:
        documents, contexts: of the recipe. steps: of all its trainings, at most.
        seconds: stage → seconds.
        memory_mb: of the process, at its peak. accelerator_mb: of the accelerator, 0 without one.
        disk_mb: part of the run folder → size.
        measured: documents, contexts and steps that this was measured on.
    """

    documents: int
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
        kept = ", ".join(f"{name} {value:,.0f}" for name, value in self.disk_mb.items())
        lines = [
            f"{self.documents:,} documents, {self.contexts:,} contexts, at most {self.steps:,} steps",
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
        ConfigError: no contexts to train on, or several processes.
        DistillirError: whatever would stop the run itself, such as missing labels.
    """
    if processes() > 1:
        raise ConfigError("an estimate measures one process", "run it without torchrun or accelerate launch")
    if recipe.train is None:
        raise ConfigError("train: the recipe names no train contexts", "name them")
    source = "responses" if hasattr(recipe, "responses") else "corpus"
    contexts = read_contexts(recipe.train)
    dev = [] if recipe.dev is None else read_contexts(recipe.dev)
    some, few = _spread(contexts, CONTEXTS), _spread([c for c in dev if c.relevant] or dev, DEV)
    place = recipe.out.parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".estimate-", dir=place) as name:
        folder = Path(name)
        total, taken = _sampled(getattr(recipe, source), [*some, *few], folder / "documents.jsonl", recipe.out)
        write_contexts(folder / "train.jsonl", some)
        labels = _copied(recipe.labels or recipe.out / "labels.sqlite", folder / "labels.sqlite")
        changed = {
            source: folder / "documents.jsonl",
            "train": folder / "train.jsonl",
            "test": None,
            "out": folder / "run",
            "labels": labels,
            "training": {
                **recipe.training,
                "max_steps": STEPS,
                "epochs": 1000,
                "evaluate_every": STEPS,
                "checkpoint_every": STEPS,
            },
        }
        if few:
            write_contexts(folder / "dev.jsonl", few)
            changed["dev"] = folder / "dev.jsonl"
        every = settings_of(recipe)
        if hasattr(recipe.chosen_method(), "rank"):
            changed["method"] = recipe.chosen_method().model_copy(update={"rank": None})
            every = every[:1]
        if getattr(recipe, "vectors", None) is not None:  # the user's own, which nobody encodes
            del changed[source]
            taken = total
        small = recipe.model_copy(update=changed)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with recorded() as marks:
            run(small)
        crops = getattr(recipe, "crops", 0)
        steps = [_steps(one, len(contexts) + crops) for one in every]
        disk = _disk(folder / "run", total / taken, len(contexts) / len(some))
        spent = _seconds(
            marks, total / taken, len(contexts) / len(some), len(dev) / max(1, len(few)), every, steps
        )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    grown = 48 * (total - taken) / 2**20  # tables of ids, 16 bytes each, of corpus, vectors and what is searched
    depth = getattr(recipe.chosen_method(), "depth", 0)
    grown += 16 * depth * (len(contexts) - len(some)) / 2**20  # rankings
    return RunEstimate(
        total, len(contexts), sum(steps), spent, peak + grown,
        torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        disk, {"documents": taken, "contexts": len(some), "steps": STEPS * len(every)},
    )  # fmt: skip


def settings_of(recipe: Any) -> list[TrainSettings]:
    """Settings of each training of a recipe, in order."""
    method = recipe.chosen_method()
    if hasattr(method, "stages"):
        return [recipe.train_settings(stage) for stage in method.stages]
    if hasattr(method, "learn"):
        return [recipe.train_settings(stage) for stage in (method.learn, method.rank) if stage is not None]
    return [recipe.train_settings()]


def _steps(settings: TrainSettings, contexts: int) -> int:
    per_epoch = math.ceil(contexts / (settings.batch_size * settings.accumulate))
    return min(settings.epochs * per_epoch, settings.max_steps or settings.epochs * per_epoch)


def _seconds(
    marks: Sequence[Mark],
    by_document: float,
    by_context: float,
    by_dev: float,
    settings: Sequence[TrainSettings],
    steps: Sequence[int],
) -> dict[str, float]:
    """Stage → seconds of the whole run, from what was seen of the small one."""
    spent: dict[str, float] = {}

    def add(name: str, seconds: float) -> None:
        spent[name] = spent.get(name, 0.0) + max(0.0, seconds)

    trainings: list[list[Mark]] = []
    for before, now in itertools.pairwise(marks):
        if now.step == 1:
            trainings.append([])
        if now.step:
            trainings[-1].append(now)
        elif now.name.startswith("encode"):
            add("encode", (now.moment - before.moment) * by_document)
        elif before.name == "label":
            add("label", (now.moment - before.moment) * by_context)
        elif before.name.startswith("index"):
            add("index", (now.moment - before.moment) * by_document)
    for seen, one, count in zip(trainings, settings, steps, strict=False):
        if len(seen) < STEPS - 1:
            continue
        # The first step warms up; the last one is followed by the evaluation.
        each = (seen[-2].moment - seen[0].moment) / (len(seen) - 2)
        add("train", each * count)
        evaluation = seen[-1].moment - seen[-2].moment - each
        per_epoch = max(1, count // max(1, one.epochs))
        add("evaluate on dev", evaluation * by_dev * max(1, count // (one.evaluate_every or per_epoch)))
    return spent


def _disk(folder: Path, by_document: float, by_context: float) -> dict[str, float]:
    """Part of a run folder → megabytes of the whole run."""
    sizes: dict[str, float] = {}
    for item in sorted(folder.iterdir()):
        files = [item] if item.is_file() else [path for path in item.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 2**20
        scale = by_document if item.name in BY_DOCUMENT else by_context if item.name in BY_CONTEXT else 1.0
        if item.name == "checkpoints":
            scale = 3.0  # one lies here: two are kept, and a third is written beside them
        if size * scale >= 0.05:
            sizes[item.name] = size * scale
    return sizes


def _sampled(source: Path, contexts: Sequence[Context], path: Path, leave_out: Path) -> tuple[int, int]:
    """Write what the contexts name, and documents spread over the rest; how many there are, and how many were taken."""
    wanted = {name for context in contexts for name in context.relevant}
    total = sum(1 for _ in _documents(source, leave_out))
    stride = max(1, total // DOCUMENTS)
    taken = 0
    with path.open("w", encoding="utf-8") as lines:
        for i, document in enumerate(_documents(source, leave_out)):
            if i % stride == 0 or document.id in wanted:
                row = {**document.metadata, "_id": document.id, "title": document.title, "text": document.text}
                lines.write(json.dumps({**row, "group": document.group}, default=str) + "\n")
                taken += 1
    return total, max(1, taken)


def _documents(source: Path, leave_out: Path) -> Iterator[Document]:
    if source.is_dir():
        yield from read_folder(source, ReadingReport(), leave_out=leave_out)
    else:
        yield from (document for _, document in read_documents(source))


def _spread(contexts: Sequence[Context], count: int) -> list[Context]:
    """Some of the contexts, evenly spread."""
    size = min(count, len(contexts))
    return [contexts[i * len(contexts) // size] for i in range(size)]


def _copied(source: Path, target: Path) -> Path:
    """A copy of a label store that may not be there; what the sample brings goes into the copy."""
    for end in ("", "-wal"):
        if (found := source.with_name(source.name + end)).is_file():
            shutil.copyfile(found, target.with_name(target.name + end))
    return target


def _time(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"
