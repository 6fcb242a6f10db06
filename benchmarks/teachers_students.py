"""Students of single and of fused teachers, by cross-validation over conversations.

All cells share start (untrained gate), contexts, objective, learning rate and steps; teachers and their fusion differ,
and with them the candidates. Weights are fitted on the training part of each fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from benchmarks.mtrag_data import BUILD, DOMAINS, MODEL, PLAIN, Material, say
from benchmarks.mtrag_full import REWRITES, Store, _per_query
from distillir.data import Context
from distillir.evaluation import bootstrap_intervals, clusters, sign_flip_test
from distillir.recipes.ablation import folds_of
from distillir.recipes.fit import Labelled, fit, label
from distillir.recipes.measure import TestBed
from distillir.recipes.method import Method
from distillir.recipes.systems import conversation, gated
from distillir.students import SparseStudent, resolve
from distillir.training import TrainSettings

MEASURES = ("R@10", "R@100", "nDCG@10")
OBJECTIVE: dict[str, dict[str, float | int | str | bool]] = {
    "kld": {"weight": 4.0, "tau": 4.0},
    "infonce": {"weight": 0.01},
}


def method(fusion: Literal["linear", "fitted", "max"], *teachers: str) -> Method:
    """The one method of all cells, under some teachers."""
    return Method(
        teachers=dict.fromkeys(teachers, 1.0), fusion=fusion, objective=OBJECTIVE, penalties={"anti_zero": 1.0}
    )


CELLS = {
    "llm": method("linear", "llm"),
    "human": method("linear", "human"),
    "mean": method("linear", "human", "llm"),
    "weighted": method("fitted", "human", "llm"),
    "max": method("max", "human", "llm"),
    "mean_with_untrained": method("linear", "human", "llm", "untrained"),
}
SHORT, FULL = (2, (1,), 10), (5, (1,), 60)  # folds, seeds, steps


def judged_bed(material: Material) -> TestBed:
    """All judged turns of the three domains."""
    own = {d: material.documents[d] for d in DOMAINS}
    return TestBed([*material.train, *material.dev, *material.test], own)


def table(material: Material, full: bool) -> dict[str, Any]:
    """Out-of-fold means with intervals of every cell, and whether the fused ones beat the single ones."""
    folds_wanted, seeds, steps = FULL if full else SHORT
    bed = judged_bed(material)
    judged = list(bed.contexts)
    gate = gated(resolve(MODEL), PLAIN)
    gate.screen = True
    folds = folds_of(judged, folds_wanted)
    kept = Store(BUILD / "teachers_students.json")
    values: dict[str, dict[str, list[list[float]]]] = {cell: {} for cell in CELLS}
    weights = []
    for f, held in enumerate(folds):
        training = [c for other in folds if other is not held for c in other]
        test = TestBed(held, bed.documents)
        for cell, chosen in CELLS.items():
            labelled = label(training, material.encoder, material.pooled, chosen, REWRITES, start=gate)
            if labelled.fused.fit is not None:
                weights.append({t: round(w, 3) for t, w in labelled.fused.fit.weights.items()})
            for seed in seeds:
                name = f"{folds_wanted}/{f}/{cell}/{steps}/seed{seed}"

                def learn(
                    labelled: Labelled = labelled, chosen: Method = chosen, seed: int = seed, test: TestBed = test
                ) -> dict[str, list[float]]:
                    return _per_query(test, conversation(distil(material, labelled, chosen, seed, steps)))

                for query, found in kept.get(name, learn).items():
                    values[cell].setdefault(query, []).append(found[: len(MEASURES)])
    rows = {cell: {q: np.mean(v, axis=0) for q, v in found.items()} for cell, found in values.items()}
    untrained = _per_query(bed, conversation(gate))
    rows["untrained_gate"] = {q: np.array(v[: len(MEASURES)]) for q, v in untrained.items()}
    pairs = [(fused, single) for fused in ("mean", "weighted", "max") for single in ("human", "llm")]
    others = [("llm", "human"), ("mean", "untrained_gate"), ("mean_with_untrained", "mean")]
    told = summary(rows, bed.group, [*pairs, *others, ("mean_with_untrained", "untrained_gate")])
    return {"folds": folds_wanted, "seeds": len(seeds), "steps": steps, "weights": weights, **told}


def distil(material: Material, labelled: Labelled, chosen: Method, seed: int, steps: int) -> SparseStudent:
    """One student on some contexts under one teacher, or one fusion."""
    training = TrainSettings(
        epochs=20, max_steps=steps, batch_size=32, lr=1e-4, lr_scale={"gate.": 10.0}, warmup=0.05, seed=seed,
        keep_best=False,
    )  # fmt: skip
    student, _ = fit(
        resolve(MODEL), labelled, material.pooled, chosen, replace(PLAIN, gate=True), training, screen=True
    )
    return student


def synthetic_gain(material: Material, synthetic: Sequence[Context]) -> dict[str, Any]:
    """Students of the train turns with and without the synthetic ones, on dev: means over seeds, and the difference."""
    _, seeds, steps = FULL
    own = {d: material.documents[d] for d in DOMAINS}
    bed = TestBed(material.dev, own)
    train_turns = [c for c in material.train if c.relevant]
    said = [replace(c, rewrites=dict.fromkeys(("human", "llm"), c.rewrites["synthetic"])) for c in synthetic]
    rows: dict[str, dict[str, Any]] = {}
    for name, turns in {"train": train_turns, "train+synthetic": [*train_turns, *said]}.items():
        labelled = label(turns, material.encoder, material.pooled, CELLS["mean"], REWRITES)
        found: dict[str, list[list[float]]] = {}
        for seed in seeds:
            say(f"  {name}, seed {seed}")
            student = distil(material, labelled, CELLS["mean"], seed, steps)
            for query, values in _per_query(bed, conversation(student)).items():
                found.setdefault(query, []).append(values[: len(MEASURES)])
        rows[name] = {query: np.mean(v, axis=0) for query, v in found.items()}
    told = summary(rows, bed.group, [("train+synthetic", "train")])
    return {"synthetic_turns": len(said), "train_turns": len(train_turns), **told}


def summary(
    rows: Mapping[str, Mapping[str, Any]],
    group: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    measures: Sequence[str] = MEASURES,
) -> dict[str, Any]:
    """Mean, low, high of every row, and of the paired differences with their p, by conversation."""
    names = sorted(next(iter(rows.values())))
    cluster = clusters(names, dict(group))
    matrix = {system: np.array([found[q] for q in names]) for system, found in rows.items()}  # (Q, K)

    def spans(values: Any) -> dict[str, list[float]]:
        interval = bootstrap_intervals(values, cluster)
        return {
            measure: [round(float(x[i]), 4) for x in (interval.mean, interval.low, interval.high)]
            for i, measure in enumerate(measures)
        }

    differences = {}
    for one, other in pairs:
        gap = matrix[one] - matrix[other]
        p = sign_flip_test(gap, cluster)
        differences[f"{one} - {other}"] = {
            measure: [*span, round(float(p[i]), 4)] for i, (measure, span) in enumerate(spans(gap).items())
        }
    return {
        "queries": len(names),
        "conversations": len({group[q] for q in names}),
        "rows": {system: spans(values) for system, values in matrix.items()},
        "differences": differences,
    }
