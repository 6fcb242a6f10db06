"""The KLD follow-up's questions on MTRAG, and what its authors left open: sparsity as a target.

Three folds of whole conversations over all judged turns of clapnq, cloud and fiqa; fold i is measured by students that
learnt from the other two under seed i, and every row pools the three. All students start from the untrained gate under
the mean of human and LLM rewrites, unless a row says otherwise.

1. Tables: the factors that come with `distillir ablate`, without its penalties.
2. Control: the cell that is best on the dev split's turns. A fifth of the conversations it would learn from are its
   dev: there the control counts, towards .75, .5 and .25 of the active dimensions
   that it has unregularised after as many steps. What that costs is compared on the held-out folds, without the dev
   split's turns.
3. Length: the cell whose late turns outgrow first ones the most, with one ceiling for all turns: .75 of what its first
   turns count. Pressing late turns presses first ones too, so a ceiling at their own count would not bind them.

The pooled corpora make R@100 optimistic: compare rows, quote none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.mtrag_data import BUILD, DOMAINS, MODEL, PLAIN, Material, load
from distillir.errors import ConfigError
from distillir.evaluation import evaluate
from distillir.recipes.ablation import folds_of, measured
from distillir.recipes.ablation_jobs import Job, Jobs, Part, pooled, seeded
from distillir.recipes.ablation_plan import BASE, Cell, cells_of, changed, read_factors
from distillir.recipes.ablation_report import MEASURED, Ablation, ablation_of, write_ablation_report
from distillir.recipes.measure import TestBed
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.systems import gated
from distillir.students import resolve

Trials = Sequence[tuple[Part, int]]
INNER = 5
FOLDS, STEPS = 3, {False: 15, True: 40}
SHARES: dict[bool, dict[str, tuple[float, ...]]] = {
    False: {"active_dims": (0.5,)},
    True: {"active_dims": (0.75, 0.5, 0.25)},
}
TABLES = {False: ["temperature"], True: ["InfoNCE weight", "MSE share", "temperature", "documents listed", "draw"]}
PRESSED = 3  # times the steps of the others: the weight that holds a target has to be found
LEAST = 1.3  # late over first turns, in a student whose growth is to be held
CEILING = 0.75  # of what first turns count
FAST: dict[str, Any] = {"start": -5.0, "gain": 0.1}  # for runs of some hundred steps
NEVER: dict[str, Any] = {"start": -10.0}  # with a target that nothing passes it only counts
FOLDER = BUILD / "ablation"


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """All three parts; without `full` one fold, one table, one target."""
    if data is None:
        raise ConfigError("ablation needs the data sets", "give --data DIR")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    material = load(data)
    jobs, trials = _jobs(material), _trials(material)[: FOLDS if full else 1]
    cells = cells_of(_base(STEPS[full]), read_factors(None).only(TABLES[full]))
    with Stages() as stages:
        tables = measured(jobs, cells, trials, stages)
        write_ablation_report(FOLDER / "tables.html", tables, {"trials": len(trials), "steps": STEPS[full]})
        dev = {c.id for c in material.dev}
        chosen = max(cells, key=lambda cell: _figure([jobs.get(cell.recipe, *t) for t in trials], trials, dev))
        control = _controlled(jobs, chosen, trials, SHARES[full], dev, stages)
        length = _length(jobs, tables, cells, trials, stages)
    return {
        "bench": "ablation",
        "flops_reduction_at_2pct": control["flops_reduction_at_2pct"],
        "controller_max_error": control["max_error"],
        "late_over_first_before": length["before"],
        "late_over_first_after": length["after"],
        "baseline": chosen.name,
        "tables": _rows(tables),
        "factors": tables.factors(),
        "front": tables.front(),
        "control": control,
        "length": length,
        "trainings": len(list((FOLDER / "jobs").glob("*.json"))),
        "judged_turns": tables.comparison.facts.queries,
    }


def _base(steps: int) -> SparseRecipe:
    return SparseRecipe(
        out=FOLDER,
        corpus=FOLDER,
        screen=True,
        method={
            "teachers": {"human": 1.0, "llm": 1.0},
            "objective": {"kld": {"weight": 1.98, "tau": 2.0}, "infonce": {"weight": 0.01}},
            "draw": {"uniform_band": {"n": 16}},
            "penalties": {"anti_zero": 1.0},
        },
        training={
            "epochs": 50,
            "max_steps": steps,
            "batch_size": 32,
            "lr": 1e-4,
            "lr_scale": {"gate.": 10.0},
            "warmup": 0.05,
        },
    )


def _jobs(material: Material) -> Jobs:
    gate = gated(resolve(MODEL), PLAIN)
    gate.screen = True
    return Jobs(material.encoder, gate, material.pooled, resolve(MODEL), FOLDER / "jobs", BUILD / "rewrites")


def _trials(material: Material) -> list[tuple[Part, int]]:
    own = {d: material.documents[d] for d in DOMAINS}
    folds = folds_of([*material.train, *material.dev, *material.test], FOLDS)
    return [
        (Part(f"fold {i}", [c for other in folds if other is not held for c in other], TestBed(held, own)), i)
        for i, held in enumerate(folds, 1)
    ]


def _figure(done: Sequence[Job], trials: Trials, chosen: set[str]) -> float:
    """Mean of R@100 and nDCG@10 on some contexts."""
    run: dict[str, dict[str, float]] = {}
    qrels: dict[str, dict[str, int]] = {}
    for job, (part, _) in zip(done, trials, strict=True):
        qrels |= {c.id: dict(c.relevant) for c in part.bed.contexts if c.id in chosen}
        run |= job.run
    return sum(evaluate(run, qrels, ("R@100", "nDCG@10")).means.values()) / 2


def _controlled(
    jobs: Jobs,
    chosen: Cell,
    trials: Trials,
    shares: Mapping[str, Sequence[float]],
    dev: set[str],
    stages: Stages,
) -> dict[str, Any]:
    """The chosen cell held at shares of what it counts, and what that costs on turns that are not the dev split's."""
    inner = []
    for part, seed in trials:
        probe, *rest = folds_of(part.train, INNER, seed)
        learnt = [c for fold in rest for c in fold]
        inner.append((Part(f"{part.name}, dev apart", learnt, part.bed, probe), seed))
    told: dict[str, Any] = {"shares": {}, "max_error": 0.0}
    systems: list[tuple[Cell, Sequence[Job]]] = []
    for count, wanted in shares.items():
        free = [_pressed(jobs, chosen.recipe, trial, {**NEVER, count: 10_000.0}) for trial in inner]
        systems = systems or [(Cell(BASE, {}, chosen.recipe), free)]
        for share in wanted:
            name, held, errors = f"{count} × {share:.2f}", [], []
            for trial, job in zip(inner, free, strict=True):
                target = share * _counted(job)
                held.append(_pressed(jobs, chosen.recipe, trial, {**FAST, count: target}))
                errors.append(_counted(held[-1]) / target - 1)
                stages.say(f"{name}, {trial[0].name}: {_counted(held[-1]):.2f} for {target:.2f}")
            told["shares"][name] = {
                "errors_on_dev": [round(e, 4) for e in errors],
                "held_out": [round(_active(a) / _active(b), 4) for a, b in zip(held, free, strict=True)],
                "reports": [job.training["steered"]["control"]["all"] for job in held],
            }
            if count == "active_dims":
                told["max_error"] = round(max(told["max_error"], *map(abs, errors)), 4)
            systems.append((Cell(name, {"target": name}, chosen.recipe), held))
    found = _compared(systems, trials, lambda query: query not in dev)
    verdicts = {name: found.verdict(name) for name in found.levels if name != BASE}
    good = [v.reduction for v in verdicts.values() if v is not None and v.says == "not inferior"]
    write_ablation_report(FOLDER / "control.html", found, {"baseline": chosen.name})
    return told | {
        "flops_reduction_at_2pct": round(max(good), 3) if good else None,
        "verdicts": {name: None if v is None else vars(v) for name, v in verdicts.items()},
        "rows": _rows(found),
    }


def _length(jobs: Jobs, tables: Ablation, cells: Sequence[Cell], trials: Trials, stages: Stages) -> dict[str, Any]:
    """The cell whose queries grow the most with the conversation, under one ceiling for all turns."""
    growth = {cell.name: tables.late_over_first(cell.name) or 0.0 for cell in cells}
    grown = max(cells, key=lambda cell: growth[cell.name])
    plain = changed(grown.recipe, {"gate": False})
    free = [_pressed(jobs, plain, trial, {**NEVER, "active_dims": 10_000.0, "by_turn": True}) for trial in trials]
    held = []
    for trial, job in zip(trials, free, strict=True):
        ceiling = CEILING * job.training["steered"]["control"]["turn 1+"]["count"]
        held.append(_pressed(jobs, plain, trial, {**FAST, "active_dims": ceiling, "by_turn": True}))
        stages.say(f"ceiling {ceiling:.1f}, {trial[0].name}: {_active(held[-1]):.1f} for {_active(job):.1f}")
    systems = [(Cell(BASE, {}, plain), free), (Cell("by turn", {"length": "by turn"}, plain), held)]
    found = _compared(systems, trials, lambda _: True)
    before, after = (found.late_over_first(name) for name in (BASE, "by turn"))
    if before is None or after is None:
        raise ConfigError("no turns from the sixth on, or no first ones", "use conversations of more turns")
    write_ablation_report(FOLDER / "length.html", found, {"student": f"{grown.name}, gate off"})
    return {
        "student": f"{grown.name}, gate off",
        "growth_with_gate": {name: round(value, 3) for name, value in growth.items()},
        "ceiling_of_first": CEILING,
        "before": round(before, 3),
        "shown": before >= LEAST,
        "after": round(after, 3),
        "rows": _rows(found),
        "active_by_turn": {
            name: [(p.bucket, round(p.mean, 2)) for p in line]
            for name, line in found.comparison.depth["active"].items()
        },
    }


def _pressed(jobs: Jobs, recipe: SparseRecipe, trial: tuple[Part, int], sparsity: dict[str, Any]) -> Job:
    steps = PRESSED * recipe.train_settings().max_steps
    return jobs.get(changed(recipe, {"method.sparsity": sparsity, "training.max_steps": steps}), *trial)


def _compared(systems: Sequence[tuple[Cell, Sequence[Job]]], trials: Trials, kept: Callable[[str], bool]) -> Ablation:
    """Jobs of some cells, one a trial, compared on the contexts that are kept."""
    contexts = [(c, part.bed, seed) for part, seed in trials for c in part.bed.contexts if kept(c.id)]
    seeds = [seed for _, seed in trials]
    return ablation_of(
        [pooled(cell.name, list(zip(seeds, done, strict=True))) for cell, done in systems],
        [cell for cell, _ in systems],
        qrels={seeded(c.id, seed): dict(c.relevant) for c, _, seed in contexts},
        depth={seeded(c.id, seed): c.conversation.depth for c, _, seed in contexts},
        group={seeded(c.id, seed): c.group for c, _, seed in contexts},
        corpus={seeded(c.id, seed): bed.corpus[c.id] for c, bed, seed in contexts},
        training={cell.name: [job.training for job in done] for cell, done in systems},
    )


def _counted(job: Job) -> float:
    """What the control counted in the end."""
    return float(job.training["steered"]["control"]["all"]["count"])


def _active(job: Job) -> float:
    return float(np.mean(list(job.active.values())))


def _rows(found: Ablation) -> dict[str, dict[str, Any]]:
    """Mean, interval, and for R@100 the change against the baseline with its interval and corrected p."""
    told = {}
    for name, row in found.comparison.cells.items():
        values: dict[str, Any] = {
            key: [None if v is None else round(v, 4) for v in (row[key].mean, row[key].low, row[key].high)]
            for key in MEASURED
        }
        change = row["r100"]
        if change.delta is not None:
            values["r100_change"] = [
                None if v is None else round(v, 4)
                for v in (change.delta, change.delta_low, change.delta_high, change.p_holm)
            ]
        late = found.late_over_first(name)
        told[name] = values | {"late_over_first": None if late is None else round(late, 3)}
    return told
