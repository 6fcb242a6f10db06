"""Students of single and of fused teachers, by cross-validation over conversations.

All cells share start (untrained gate), contexts, candidates (the mean teacher's ranking), objective, learning rate and
steps; only the teacher's scores of the candidates differ. Weights are fitted on the training part of each fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.mtrag_data import BUILD, DOMAINS, MODEL, PLAIN, Material, say
from benchmarks.mtrag_full import REWRITES, Store, _folds, _per_query
from distillir.data import Context
from distillir.encoding import rewrite_vectors
from distillir.evaluation import bootstrap_intervals, clusters, sign_flip_test
from distillir.labels import fit_weights
from distillir.recipes.assemble import build_objective, build_penalties, build_rule, build_sampler
from distillir.recipes.fit import Labelled, label
from distillir.recipes.measure import TestBed
from distillir.recipes.method import Method
from distillir.recipes.systems import conversation, gated, teacher_vectors
from distillir.students import SparseStudent, resolve
from distillir.students.batch import SparseBatch, StoredRows
from distillir.training import SparseData, TrainSettings, train
from distillir.vectors import CSR
from distillir.vectors.csr import take_rows

MEASURES = ("R@10", "R@100", "nDCG@10")
CELLS = ("llm", "human", "mean", "weighted", "max")
BOTH = {"human": 1.0, "llm": 1.0}
OBJECTIVE: dict[str, dict[str, float | int | str | bool]] = {
    "kld": {"weight": 4.0, "tau": 4.0},
    "infonce": {"weight": 0.01},
}
METHOD = Method(teachers=BOTH, objective=OBJECTIVE, penalties={"anti_zero": 1.0})
SHORT, FULL = (3, (1,), 12), (5, (1, 2, 3), 60)  # folds, seeds, steps
FITTED_ON = 100  # candidates of a context


@dataclass(frozen=True)
class MaxData(SparseData):
    """Lists scored by the better of two teachers: no vector has these scores.

    Attributes:
        second: the other teacher's vector of each context.
    """

    second: CSR | None = None

    def collate(self, rows: Sequence[int], epoch: int) -> SparseBatch:
        batch = super().collate(rows, epoch)
        if self.second is None or batch.targets.scores is None:
            return batch
        other = StoredRows.from_csr(take_rows(*self.second, np.asarray(rows, np.int64))).dense(self.dim)
        scores = batch.documents.dot(other).gather(1, batch.candidates.clamp(min=0))
        better = torch.maximum(batch.targets.scores, scores)
        return replace(batch, targets=replace(batch.targets, scores=better))


def judged_bed(material: Material) -> TestBed:
    """All judged turns of the three domains."""
    own = {d: material.documents[d] for d in DOMAINS}
    return TestBed([*material.train, *material.dev, *material.test], own)


def table(material: Material, full: bool) -> dict[str, Any]:
    """Out-of-fold means with intervals of every cell, and whether the fused ones beat the single ones."""
    folds_wanted, seeds, steps = FULL if full else SHORT
    bed = judged_bed(material)
    judged = list(bed.contexts)
    base = label(judged, material.encoder, material.pooled, METHOD, REWRITES)
    row = {c.id: i for i, c in enumerate(base.contexts)}
    folds = _folds(judged, folds_wanted, seed=0)
    kept = Store(BUILD / "teachers_students.json")
    values: dict[str, dict[str, list[list[float]]]] = {cell: {} for cell in CELLS}
    weights = []
    for f, held in enumerate(folds):
        training = [row[c.id] for other in folds if other is not held for c in other]
        fitted = weights_of(material, base, training)
        weights.append(fitted)
        test = TestBed(held, bed.documents)
        for cell in CELLS:
            for seed in seeds:
                name = f"{folds_wanted}/{f}/{cell}/{steps}/seed{seed}"

                def learn(cell: str = cell, seed: int = seed, test: TestBed = test) -> dict[str, list[float]]:
                    student = distil(material, base, training, cell, fitted, seed, steps)  # noqa: B023
                    return _per_query(test, conversation(student))

                for query, found in kept.get(name, learn).items():
                    values[cell].setdefault(query, []).append(found[: len(MEASURES)])
    gate = gated(resolve(MODEL), PLAIN)
    gate.screen = True
    rows = {cell: {q: np.mean(v, axis=0) for q, v in found.items()} for cell, found in values.items()}
    untrained = _per_query(bed, conversation(gate))
    rows["untrained_gate"] = {q: np.array(v[: len(MEASURES)]) for q, v in untrained.items()}
    pairs = [(fused, single) for fused in ("mean", "weighted", "max") for single in ("human", "llm")]
    told = summary(rows, bed.group, [*pairs, ("llm", "human"), ("mean", "untrained_gate")])
    return {"folds": folds_wanted, "seeds": len(seeds), "steps": steps, "weights": weights, **told}


def weights_of(material: Material, base: Labelled, rows: Sequence[int]) -> dict[str, float]:
    """Teachers' weights, fitted on the judgements of some contexts."""
    contexts = [base.contexts[i] for i in rows]
    vectors = {t: rewrite_vectors(material.encoder, [c.rewrites[t] for c in contexts], REWRITES) for t in BOTH}
    scores: dict[str, list[NDArray[np.floating] | None]] = {t: [] for t in BOTH}
    gold = []
    for i, (context, place) in enumerate(zip(contexts, rows, strict=True)):
        if base.pool is None:
            break
        positions = np.union1d(base.pool[context.id].positions[:FITTED_ON], base.golds[place])
        listed = StoredRows.from_csr(material.pooled.gather(positions))
        gold.append(np.isin(positions, base.golds[place]))
        for teacher, made in vectors.items():
            query = StoredRows.from_csr(take_rows(*made, np.array([i]))).dense(material.encoder.dim)
            scores[teacher].append(listed.dot(query)[0].numpy())
    fitted = fit_weights(scores, gold)
    return {teacher: round(weight, 3) for teacher, weight in fitted.weights.items()}


def distil(
    material: Material,
    base: Labelled,
    rows: Sequence[int],
    cell: str,
    weights: Mapping[str, float],
    seed: int,
    steps: int,
    extra: Labelled | None = None,
) -> SparseStudent:
    """One student on some contexts under one teacher, or one fusion."""
    shares = {
        "llm": {"llm": 1.0},
        "human": {"human": 1.0},
        "mean": BOTH,
        "weighted": dict(weights),
        "max": {"human": 1.0},
    }
    labelled = (extra or base).take(rows)
    fused = teacher_vectors(material.encoder, labelled.contexts, shares[cell], REWRITES)
    second = None
    if cell == "max":
        second = teacher_vectors(material.encoder, labelled.contexts, {"llm": 1.0}, REWRITES)
    student = SparseStudent.from_pretrained(resolve(MODEL), replace(PLAIN, gate=True))
    student.screen = True
    if labelled.pool is None:
        raise ValueError("the method ranks candidates")
    data = MaxData(
        names=[c.id for c in labelled.contexts],
        ids=[student.render(c.conversation).ids for c in labelled.contexts],
        teacher=fused,
        documents=material.pooled,
        sampler=build_sampler(METHOD, labelled.pool, seed),
        golds=labelled.golds,
        pad_id=int(student.tokenizer.pad_token_id),
        dim=student.dim,
        shared=METHOD.in_batch,
        rule=build_rule(METHOD),
        second=second,
    )
    settings = TrainSettings(
        epochs=20, max_steps=steps, batch_size=32, lr=1e-4, lr_scale={"gate.": 10.0}, warmup=0.05, seed=seed,
        keep_best=False,
    )  # fmt: skip
    train(student, data, build_objective(METHOD, material.pooled), settings, penalties=build_penalties(METHOD))
    return student


def synthetic_gain(material: Material, synthetic: Sequence[Context]) -> dict[str, Any]:
    """Students of the train turns with and without the synthetic ones, on dev: means over seeds, and the difference."""
    _, seeds, steps = FULL
    own = {d: material.documents[d] for d in DOMAINS}
    bed = TestBed(material.dev, own)
    train_turns = [c for c in material.train if c.relevant]
    said = [replace(c, rewrites=dict.fromkeys(BOTH, c.rewrites["synthetic"])) for c in synthetic]
    both = label([*train_turns, *said], material.encoder, material.pooled, METHOD, REWRITES)
    plain = list(range(len(train_turns)))
    rows: dict[str, dict[str, Any]] = {}
    for name, chosen in {"train": plain, "train+synthetic": list(range(len(both.contexts)))}.items():
        found: dict[str, list[list[float]]] = {}
        for seed in seeds:
            say(f"  {name}, seed {seed}")
            student = distil(material, both, chosen, "mean", {}, seed, steps)
            for query, values in _per_query(bed, conversation(student)).items():
                found.setdefault(query, []).append(values[: len(MEASURES)])
        rows[name] = {query: np.mean(v, axis=0) for query, v in found.items()}
    told = summary(rows, bed.group, [("train+synthetic", "train")])
    return {"synthetic_turns": len(said), "train_turns": len(train_turns), **told}


def summary(
    rows: Mapping[str, Mapping[str, Any]], group: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Mean, low, high of every row, and of the paired differences with their p, by conversation."""
    names = sorted(next(iter(rows.values())))
    cluster = clusters(names, dict(group))
    matrix = {system: np.array([found[q] for q in names]) for system, found in rows.items()}  # (Q, K)

    def spans(values: Any) -> dict[str, list[float]]:
        interval = bootstrap_intervals(values, cluster)
        return {
            measure: [round(float(x[i]), 4) for x in (interval.mean, interval.low, interval.high)]
            for i, measure in enumerate(MEASURES)
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
