"""The 2x2 {gate off, on} x {representation MSE, score KLD}, by nested cross-validation over conversations.

Five folds over all judged turns of clapnq, cloud and fiqa. Inside each fold's training part a fifth of the
conversations chooses learning rate and temperature; the choice is trained anew on the whole training part under three
seeds. Only the held-out fold is measured, so every judged turn is scored by students that never saw its conversation.
All four cells share start, data, teacher (human and LLM rewrites fused) and steps. Finished trainings are kept, so a
stopped study goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mtrag_data import BUILD, DOMAINS, MODEL, PLAIN, Material, say
from distillir.data import Context
from distillir.evaluation import bootstrap_intervals, clusters, evaluate, sign_flip_test
from distillir.recipes.ablation import folds_of
from distillir.recipes.fit import Labelled, fit, label
from distillir.recipes.measure import TestBed
from distillir.recipes.method import Method
from distillir.recipes.systems import Queries, conversation, gated, last_turn, rewrites
from distillir.students import resolve
from distillir.training import TrainSettings

FOLDS, SEEDS, OUTSIDE, STEPS = 5, (1, 2, 3), 1000, 50
MEASURES = ("R@10", "R@100", "nDCG@10", "RR")
STEP_SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "max_steps": STEPS,
    "batch_size": 32,
    "lr_scale": {"gate.": 10.0},
    "warmup": 0.05,
    "keep_best": False,
}
TEACHERS = {"human": 1.0, "llm": 1.0}
REWRITES = BUILD / "rewrites"
MSE: dict[str, dict[str, float | int | str | bool]] = {"representation_mse": {"weight": 1.0}}


def _kld(tau: float) -> dict[str, dict[str, float | int | str | bool]]:
    return {"kld": {"weight": tau, "tau": tau}, "infonce": {"weight": 0.01}}  # the gradient of KL shrinks as 1/τ


# Cell → what its inner split chooses from: (objective, learning rate).
CELLS: dict[str, tuple[bool, list[tuple[dict[str, dict[str, float | int | str | bool]], float]]]] = {
    "mse": (False, [(MSE, 1e-4), (MSE, 3e-4)]),
    "kld": (False, [(_kld(1.0), 1e-4), (_kld(4.0), 1e-4), (_kld(4.0), 3e-4)]),
    "gate_mse": (True, [(MSE, 1e-4), (MSE, 3e-4)]),
    "gate_kld": (True, [(_kld(1.0), 1e-4), (_kld(4.0), 1e-4), (_kld(4.0), 3e-4)]),
}
PAIRS = (
    ("kld", "mse"),
    ("gate_kld", "gate_mse"),
    ("gate_kld", "untrained_gate"),
    ("gate_kld", "teacher"),
    ("gate_kld", "teacher_fused"),
    ("gate_kld", "full_context"),
    ("gate_kld", "last_turn"),
)


def study(material: Material) -> dict[str, Any]:
    """Out-of-fold means with intervals, paired differences, and what each fold chose."""
    judged = [*material.train, *material.dev, *material.test]
    own = {d: material.documents[d] for d in DOMAINS}
    rng = np.random.default_rng(0)
    outside = [material.outside[i] for i in sorted(rng.choice(len(material.outside), OUTSIDE, replace=False))]
    labelled = label([*judged, *outside], material.encoder, material.pooled, Method(teachers=TEACHERS), REWRITES)
    row = {c.id: i for i, c in enumerate(labelled.contexts)}
    folds = folds_of(judged, FOLDS)
    store = Store(BUILD / "study.json")
    chosen: dict[str, list[int]] = {cell: [] for cell in CELLS}
    values: dict[str, dict[str, list[list[float]]]] = {cell: {} for cell in CELLS}
    for f, held in enumerate(folds):
        training = [c for other in folds if other is not held for c in other]
        inner = folds_of(training, FOLDS, seed=f + 1)
        inner_train = [c for part in inner[1:] for c in part]
        for cell, (_, options) in CELLS.items():
            job = partial(_scores, material, labelled, row, cell)
            chooser = TestBed(inner[0], own)
            figures = [
                _figure(store.get(f"{f}/{cell}/choice{i}", partial(job, i, 0, [*inner_train, *outside], chooser)))
                for i in range(len(options))
            ]
            choice = int(np.argmax(figures))
            chosen[cell].append(choice)
            for seed in SEEDS:
                learn = partial(job, choice, seed, [*training, *outside], TestBed(held, own))
                for query, found in store.get(f"{f}/{cell}/{choice}/seed{seed}", learn).items():
                    values[cell].setdefault(query, []).append(found)
    baselines = _baselines(material, TestBed(judged, own))
    table = {name: {q: np.mean(v, axis=0) for q, v in cell.items()} for name, cell in values.items()} | baselines
    return _summary(table, {c.id: c.group for c in judged}, chosen)


class Store:
    """Scores of finished trainings, by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, dict[str, list[float]]] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str, compute: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
        """What is kept under a name, computed and kept if nothing is."""
        if name not in self._kept:
            self._kept[name] = compute()
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(self._kept))
            fresh.replace(self._path)
            means = np.mean(list(self._kept[name].values()), axis=0)
            say(
                f"  {name}: "
                + ", ".join(f"{m} {v:.3f}" for m, v in zip((*MEASURES, "active", "flops"), means, strict=True))
            )
        return self._kept[name]


def _scores(
    material: Material,
    labelled: Labelled,
    row: dict[str, int],
    cell: str,
    choice: int,
    seed: int,
    contexts: Sequence[Context],
    bed: TestBed,
) -> dict[str, list[float]]:
    """Train one student and score a bed: query → measures, active dimensions, flops."""
    gate, options = CELLS[cell]
    objective, lr = options[choice]
    settings = TrainSettings(
        epochs=2,
        max_steps=STEPS,
        batch_size=32,
        lr=lr,
        lr_scale={"gate.": 10.0},
        warmup=0.05,
        seed=seed,
        keep_best=False,
    )
    trained, _ = fit(
        resolve(MODEL),
        labelled.take([row[c.id] for c in contexts]),
        material.pooled,
        Method(teachers=TEACHERS, objective=objective, penalties={"anti_zero": 1.0}),
        replace(PLAIN, gate=gate),
        settings,
        screen=True,
    )
    return _per_query(bed, conversation(trained))


def _per_query(bed: TestBed, queries: Queries) -> dict[str, list[float]]:
    found = bed.measure("x", queries)
    scored = evaluate(found.run, bed.qrels, MEASURES)
    active, flops = found.active or {}, found.flops or {}
    return {q: [*map(float, scored.values[i]), active[q], flops[q]] for i, q in enumerate(scored.query_ids)}


def _figure(scores: dict[str, list[float]]) -> float:
    """Mean of R@100 and nDCG@10."""
    means = np.mean(list(scores.values()), axis=0)
    return float(means[1] + means[2]) / 2


def _baselines(material: Material, bed: TestBed) -> dict[str, dict[str, Any]]:
    gate = gated(resolve(MODEL), PLAIN)
    gate.screen = True
    systems: dict[str, Queries] = {
        "last_turn": last_turn(material.encoder),
        "full_context": conversation(material.encoder),
        "untrained_gate": conversation(gate),
        "teacher": rewrites(material.encoder, {"human": 1.0}, REWRITES),
        "teacher_fused": rewrites(material.encoder, TEACHERS, REWRITES),
    }
    return {name: {q: np.array(v) for q, v in _per_query(bed, s).items()} for name, s in systems.items()}


def _summary(table: dict[str, dict[str, Any]], group: dict[str, str], chosen: dict[str, list[int]]) -> dict[str, Any]:
    names = sorted(next(iter(table.values())))
    cluster = clusters(names, group)
    matrix = {system: np.array([found[q] for q in names]) for system, found in table.items()}  # (Q, K)
    keys = ("r10", "r100", "ndcg10", "mrr", "active", "flops")

    def spans(values: Any) -> dict[str, list[float]]:
        interval = bootstrap_intervals(values, cluster)
        return {
            key: [round(float(x[i]), 4) for x in (interval.mean, interval.low, interval.high)]
            for i, key in enumerate(keys)
        }

    differences = {}
    for one, other in PAIRS:
        gap = matrix[one] - matrix[other]
        p = sign_flip_test(gap, cluster)
        differences[f"{one} - {other}"] = {
            k: [*v, round(float(p[i]), 4)] for i, (k, v) in enumerate(spans(gap).items())
        }
    return {
        "queries": len(names),
        "conversations": len({group[q] for q in names}),
        "rows": {system: spans(values) for system, values in matrix.items()},
        "differences": differences,
        "chosen": {c: [str(CELLS[c][1][i]) for i in picks] for c, picks in chosen.items()},
    }
