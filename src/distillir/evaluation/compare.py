"""Compare systems with a baseline on the same judged queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillir.errors import EvaluationError
from distillir.evaluation.comparison import Cell, Comparison, DepthPoint, Facts
from distillir.evaluation.efficiency import Latency
from distillir.evaluation.groups import DEFAULT_EDGES, bucket_index, bucket_labels
from distillir.evaluation.measures import DEFAULT_MEASURES, PerQuery, evaluate, measure_key
from distillir.evaluation.significance import RESAMPLES, Intervals, bootstrap_intervals, clusters, holm, sign_flip_test

Columns = dict[str, NDArray[np.float64]]  # column key to (Q,) values of one system


@dataclass(frozen=True)
class SystemResult:
    """What one system did on the evaluation queries.

    Attributes:
        name: unique, printable.
        run: scores by query and document.
        latency: measured by `measure_latency`.
        active: active dimensions of each judged query.
        flops: Σ_{j active} P_d(j) of each judged query on its corpus, from `flops_per_query`.
        note: shown below the tables.
    """

    name: str
    run: Mapping[str, Mapping[str, float]]
    latency: Latency | None = None
    active: Mapping[str, float] | None = None
    flops: Mapping[str, float] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for label, text in (("name", self.name), ("note", self.note)):
            if not text.isprintable():
                raise EvaluationError(f"the {label} {text!r} holds control characters", "use one printable line")
        if not self.name.strip():
            raise EvaluationError("a system without a name", "name it as the tables should")


def compare(
    systems: Sequence[SystemResult],
    qrels: Mapping[str, Mapping[str, int]],
    depth: Mapping[str, int] | None = None,
    group: Mapping[str, str] | None = None,
    baseline: str | None = None,
    *,
    seed: int = 0,
    corpus: str | Mapping[str, str] | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    edges: Sequence[int] = DEFAULT_EDGES,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Means, intervals, differences to the baseline and turn depth of several systems.

    Args:
        systems: what to compare; all are scored on every query of `qrels`.
        qrels: grades by query and document.
        depth: 1-based turn depth by query; without it nothing is broken down.
        group: conversation by query; without it every query counts as a conversation of its own.
        baseline: name of the system that the others are compared with, by default the first.
        seed: of the bootstrap and of the sign flips.
        corpus: name of the searched collection, or one by query; needed when a system states its flops.
        measures: names that ir-measures reads.
        edges: first turn depth of each bucket.
        level: of the intervals; 1 - level is the significance level.
        resamples: draws of the bootstrap and flips of the test.

    Raises:
        EvaluationError: two systems of one name, an unknown baseline, a query without a depth, conversation, active
            count, flops or corpus, and all that `evaluate` refuses.
    """
    names = tuple(system.name for system in systems)
    baseline = _baseline(names, baseline)
    scored = {system.name: evaluate(system.run, qrels, measures) for system in systems}
    any_scored = scored[baseline]
    query_ids = any_scored.query_ids
    corpora = _corpora(query_ids, corpus, needed=any(system.flops is not None for system in systems))
    by_system = {system.name: _columns(system, scored[system.name]) for system in systems}
    labels = _labels(any_scored.measures, by_system, corpora)
    cluster = clusters(query_ids, group)
    facts = Facts(
        queries=len(query_ids),
        conversations=len(np.unique(cluster)),
        with_gold=len(query_ids) - any_scored.without_gold,
        corpora=dict(sorted(Counter(corpora.values()).items())),
        level=level,
        resamples=resamples,
        seed=seed,
    )
    return Comparison(
        baseline=baseline,
        systems=names,
        columns=labels,
        cells=_cells(by_system, baseline, cluster, facts),
        depth=_by_depth(by_system, labels, _buckets(query_ids, depth, edges), cluster, facts),
        flops_by_corpus={
            name: _by_corpus(columns["flops"], query_ids, corpora)
            for name, columns in by_system.items()
            if "flops" in columns
        },
        latency={system.name: system.latency for system in systems if system.latency is not None},
        notes={s.name: [*([s.note] if s.note else []), *scored[s.name].notes()] for s in systems},
        facts=facts,
    )


def _baseline(names: Sequence[str], baseline: str | None) -> str:
    if not names:
        raise EvaluationError("no system to compare", "give at least one SystemResult")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise EvaluationError(f"two systems are called {twice[0]!r}", "give each its own name")
    if baseline is not None and baseline not in names:
        raise EvaluationError(f"the baseline {baseline!r} is not among {', '.join(names)}", "name one of the systems")
    return names[0] if baseline is None else baseline


def _corpora(query_ids: Sequence[str], corpus: str | Mapping[str, str] | None, *, needed: bool) -> dict[str, str]:
    if not needed:
        return {}
    named = dict.fromkeys(query_ids, corpus) if isinstance(corpus, str) else corpus or {}
    unknown = [qid for qid in query_ids if not named.get(qid)]
    if unknown:
        raise EvaluationError(
            f"flops of {len(unknown)} queries are on no named corpus, first {unknown[0]!r}",
            "flops mean nothing without their corpus: pass corpus= (one name, or one by query)",
        )
    return {qid: str(named[qid]) for qid in query_ids}


def _columns(system: SystemResult, scored: PerQuery) -> Columns:
    columns = {measure_key(m): scored.values[:, i] for i, m in enumerate(scored.measures)}
    for key, values in (("active", system.active), ("flops", system.flops)):
        if values is None:
            continue
        unknown = [qid for qid in scored.query_ids if qid not in values]
        if unknown:
            raise EvaluationError(
                f"{system.name}: {len(unknown)} of {len(scored.query_ids)} judged queries have no {key} value, "
                f"first {unknown[0]!r}",
                "give one for every judged query",
            )
        columns[key] = np.array([values[qid] for qid in scored.query_ids], dtype=np.float64)
    return columns


def _labels(measures: Sequence[str], by_system: Mapping[str, Columns], corpora: Mapping[str, str]) -> dict[str, str]:
    labels = {measure_key(name): "MRR" + name[2:] if name.split("@")[0] == "RR" else name for name in measures}
    searched = sorted(set(corpora.values()))
    extra = {
        "active": "active dims",
        "flops": f"flops@{searched[0] if len(searched) == 1 else f'{len(searched)} corpora'}" if searched else "",
    }
    return labels | {k: label for k, label in extra.items() if any(k in columns for columns in by_system.values())}


def _cells(
    by_system: Mapping[str, Columns], baseline: str, cluster: NDArray[np.int64], facts: Facts
) -> dict[str, dict[str, Cell]]:
    base = by_system[baseline]
    places = [(name, key) for name, columns in by_system.items() for key in columns]
    paired = [(name, key) for name, key in places if name != baseline and key in base]
    means = _intervals([by_system[name][key] for name, key in places], cluster, facts)
    cells = {
        place: Cell(float(means.mean[i]), _bound(means.low[i]), _bound(means.high[i])) for i, place in enumerate(places)
    }
    if paired:
        differences = [by_system[name][key] - base[key] for name, key in paired]
        change = _intervals(differences, cluster, facts)
        p = sign_flip_test(np.stack(differences, axis=1), cluster, resamples=facts.resamples, seed=facts.seed)
        corrected = np.empty_like(p)
        for key in base:  # one family: the systems compared on this column
            family = [i for i, (_, k) in enumerate(paired) if k == key]
            corrected[family] = holm(p[family])
        for i, place in enumerate(paired):
            mean = cells[place]
            cells[place] = Cell(
                mean.mean,
                mean.low,
                mean.high,
                float(change.mean[i]),
                _bound(change.low[i]),
                _bound(change.high[i]),
                float(p[i]),
                float(corrected[i]),
            )
    return {name: {key: cells[name, key] for key in columns} for name, columns in by_system.items()}


def _buckets(
    query_ids: Sequence[str], depth: Mapping[str, int] | None, edges: Sequence[int]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name and (Q,) mask of every bucket that holds a query; none without depths."""
    if depth is None:
        return []
    bucket = bucket_index(query_ids, depth, edges)
    return [(name, bucket == i) for i, name in enumerate(bucket_labels(edges)) if (bucket == i).any()]


def _by_depth(
    by_system: Mapping[str, Columns],
    labels: Mapping[str, str],
    buckets: Sequence[tuple[str, NDArray[np.bool_]]],
    cluster: NDArray[np.int64],
    facts: Facts,
) -> dict[str, dict[str, list[DepthPoint]]]:
    places = [(key, name) for key in labels for name, columns in by_system.items() if key in columns]
    depth: dict[str, dict[str, list[DepthPoint]]] = {}
    for label, rows in buckets:
        found = _intervals([by_system[name][key][rows] for key, name in places], cluster[rows], facts)
        for i, (key, name) in enumerate(places):
            point = DepthPoint(
                label, int(rows.sum()), float(found.mean[i]), _bound(found.low[i]), _bound(found.high[i])
            )
            depth.setdefault(key, {}).setdefault(name, []).append(point)
    return depth


def _by_corpus(flops: NDArray[np.float64], query_ids: Sequence[str], corpora: Mapping[str, str]) -> dict[str, float]:
    names = np.array([corpora[qid] for qid in query_ids])
    return {str(name): float(flops[names == name].mean()) for name in np.unique(names)}


def _intervals(columns: Sequence[NDArray[np.float64]], cluster: NDArray[np.int64], facts: Facts) -> Intervals:
    table = np.stack(columns, axis=1)
    return bootstrap_intervals(table, cluster, level=facts.level, resamples=facts.resamples, seed=facts.seed)


def _bound(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
