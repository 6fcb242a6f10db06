"""An ablation of a recipe: one factor at a time or all combinations, over seeds, on dev or across folds.

Document vectors, rewrite vectors and teachers' rankings are made once and shared by all cells; every training is kept
in the run folder, so a stopped ablation goes on. Nothing is selected on what is reported: trainings keep their last
step, and test contexts are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distillir.data import Context
from distillir.errors import ConfigError
from distillir.labels import LabelStore
from distillir.recipes.ablation_jobs import Job, Jobs, Part, pooled, seeded
from distillir.recipes.ablation_plan import Cell, Factors, cells_of
from distillir.recipes.ablation_report import Ablation, ablation_of, write_ablation_report
from distillir.recipes.marks import file_digest, write_text
from distillir.recipes.measure import TestBed
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import commit, versions
from distillir.recipes.stages import joined
from distillir.recipes.stored import through_store
from distillir.recipes.systems import conversation, gated
from distillir.recipes.workshop import Workshop, at_work
from distillir.students import resolve
from distillir.vectors import SparseVectors

FOLDER = "ablation"  # in the run folder
GATE = "untrained_gate"


def run_ablation(
    recipe: SparseRecipe,
    factors: Factors,
    *,
    grid: bool = False,
    seeds: Sequence[int] = (1,),
    folds: int = 0,
    quiet: bool = False,
) -> tuple[Ablation, Path]:
    """Train and measure every cell; the result and the path of its report.

    Args:
        recipe: the baseline.
        factors: what is varied.
        grid: all combinations, rather than one factor at a time.
        seeds: each cell is trained under each of them.
        folds: 0 = learn from train, measure on dev; 2 or more = the judged turns of both in so many folds of whole
            conversations, each measured by students that learnt from the others.
        quiet: no progress display.

    Raises:
        ConfigError: a cell that cannot be, seeds or folds out of range; before anything is computed.
        DataError: see `run_sparse`.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"seeds are {', '.join(map(str, seeds)) or 'none'}", "give different numbers of 0 or more")
    if folds < 0 or folds == 1:
        raise ConfigError(f"folds is {folds}", "give 0 for train and dev, or 2 or more")
    for name in ("train", "dev"):
        if getattr(recipe, name) is None:
            raise ConfigError(f"{name}: the recipe names no {name} contexts", "an ablation needs both")
    cells = cells_of(recipe, factors, grid=grid)
    with at_work(recipe, quiet=quiet) as shop:
        shop.counts()
        parts = _parts(shop, cells, folds)
        trials = [(part, seed) for part in parts for seed in seeds]
        found = measured(_jobs(shop), cells, trials, shop.stages)
        folder = recipe.out / FOLDER
        write_text(folder / "ablation.json", found.to_json() + "\n")
        record = {"commit": commit(), "versions": versions(), "settings": cells[0].recipe.resolved()}
        told = {"seeds": list(seeds), "folds": folds, "data": {k: str(v) for k, v in recipe.splits().items()}}
        return found, write_ablation_report(folder / "report.html", found, {**record, **told})


def measured(jobs: Jobs, cells: Sequence[Cell], trials: Sequence[tuple[Part, int]], stages: Stages) -> Ablation:
    """Every cell in every trial, and what follows from them.

    Args:
        jobs: does the trainings.
        cells: the baseline first.
        trials: parts with the seed each is trained under; their held-out contexts are pooled.
        stages: told of each training.
    """
    found: dict[str, list[tuple[int, Job]]] = {cell.name: [] for cell in cells}
    total, bar = len(cells) * len(trials), stages.bar("trainings")
    for part, seed in trials:
        for cell in cells:
            kept = jobs.has(cell.recipe, part, seed)
            job = jobs.get(cell.recipe, part, seed)
            found[cell.name].append((seed, job))
            active = float(np.mean(list(job.active.values())))
            how = "kept" if kept else f"{job.training['seconds']:.0f} s"
            stages.say(f"{cell.name}, {part.name}, seed {seed}: {active:.1f} active ({how})")
            bar(sum(map(len, found.values())), total)
    systems = [pooled(name, done) for name, done in found.items()]
    untrained = {part.name: _untrained(part, jobs) for part, _ in trials}
    systems.append(pooled(GATE, [(seed, untrained[part.name]) for part, seed in trials], note="not trained"))
    contexts = [(c, part.bed, seed) for part, seed in trials for c in part.bed.contexts]
    return ablation_of(
        systems,
        cells,
        qrels={seeded(c.id, seed): dict(c.relevant) for c, _, seed in contexts},
        depth={seeded(c.id, seed): c.conversation.depth for c, _, seed in contexts},
        group={seeded(c.id, seed): c.group for c, _, seed in contexts},
        corpus={seeded(c.id, seed): bed.corpus[c.id] for c, bed, seed in contexts},
        training={name: [job.training for _, job in done] for name, done in found.items()},
    )


def _untrained(part: Part, jobs: Jobs) -> Job:
    found = part.bed.measure(GATE, conversation(jobs.gate))
    run = {query: dict(scores) for query, scores in found.run.items()}
    return Job(run, dict(found.active or {}), dict(found.flops or {}), {})


def folds_of(contexts: Sequence[Context], count: int, seed: int = 0) -> list[list[Context]]:
    """Folds of whole conversations, each domain spread evenly.

    Raises:
        ConfigError: fewer conversations than folds.
    """
    rng = np.random.default_rng(seed)
    place: dict[str, int] = {}
    for domain in sorted({c.domain for c in contexts}):
        groups = sorted({c.group for c in contexts if c.domain == domain} - set(place))
        for i, group in enumerate(rng.permutation(len(groups))):
            place[groups[group]] = i % count
    made = [[c for c in contexts if place[c.group] == i] for i in range(count)]
    if not all(made):
        raise ConfigError(f"{len(place)} judged conversations for {count} folds", "use fewer folds")
    return made


def _jobs(shop: Workshop) -> Jobs:
    recipe, (_, documents), own = shop.recipe, shop.documents, None
    if shop.candidates is not None:
        own = len(documents)
        documents = joined(documents, shop.candidates, recipe.out / "joined.vectors")
    source = resolve(recipe.model)
    gate = gated(source, shop.encoder.settings)
    gate.screen = recipe.screen
    return Jobs(shop.encoder, gate, documents, source, recipe.out / FOLDER / "jobs", recipe.out / "rewrites", own)


def _parts(shop: Workshop, cells: Sequence[Cell], folds: int) -> list[Part]:
    """Contexts with the rewrites of every teacher that a cell names, by what they are for."""
    recipe = shop.recipe
    writers = sorted({writer for cell in cells for writer in cell.recipe.chosen_method().writers})
    by_split: dict[str, list[Context]] = {}
    with LabelStore(recipe.labels or recipe.out / "labels.sqlite") as store:
        for name in ("train", "dev"):
            path = recipe.splits()[name]
            by_split[name] = through_store(store, shop.contexts[name], writers, f"{path.name} {file_digest(path)}")
    taught = [c for c in by_split["train"] if any(c.rewrites.get(writer) for writer in writers)]
    documents: SparseVectors = shop.documents[1]
    if not folds:
        return [Part("dev", taught, TestBed(by_split["dev"], {"": documents}))]
    judged = [c for c in (*taught, *by_split["dev"]) if c.relevant]
    judged = [c for c in judged if any(c.rewrites.get(writer) for writer in writers)]
    others = [c for c in taught if not c.relevant]
    groups = folds_of(judged, folds)
    return [
        Part(f"fold {i + 1}", _apart(judged, others, held), TestBed(held, {"": documents}))
        for i, held in enumerate(groups)
    ]


def _apart(judged: Sequence[Context], others: Sequence[Context], held: Sequence[Context]) -> list[Context]:
    """All contexts whose conversation is not held out."""
    out = {c.group for c in held}
    return [c for c in (*judged, *others) if c.group not in out]
