"""What pruning costs: weight lost, ranking changed, postings saved, and a measure's change where there are judgements.

A search over an inverted index reads the postings of the query's terms. Pruning queries shortens the list of terms,
pruning documents the lists of postings; both change the ranking. `overlap@k` is the share of the k best documents of
the full vectors that are among the k best of the pruned ones, averaged over the queries that find anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from distillir.engines.features import stored_rows
from distillir.engines.pruning import check_limits, prune_rows
from distillir.engines.ranking import Ranking, rank
from distillir.errors import ConfigError
from distillir.vectors import CSR, SparseVectors, csr_concat

Measure = Callable[[dict[str, dict[str, float]]], Mapping[str, float]]
"""Means of measures of a run, by name."""

DEPTHS = (10, 100)


@dataclass(frozen=True)
class Loss:
    """One way to prune.

    Attributes:
        kept: what was kept, such as "top 16".
        terms: mean terms of a query, or of a document.
        mass: share of the weight that is kept.
        overlap: depth → overlap@depth with the unpruned ranking.
        postings: mean postings a query reads.
        measures: name → mean, where there are judgements.
    """

    kept: str
    terms: float
    mass: float
    overlap: dict[int, float]
    postings: float
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LossTable:
    """Ways to prune, the unpruned vectors first, and the same as engines store them second."""

    pruned: Literal["queries", "documents"]
    queries: int
    documents: int
    rows: tuple[Loss, ...]

    def to_json(self) -> str:
        """One object."""
        return json.dumps(asdict(self))

    def text(self) -> str:
        """A table; measures with their change against the unpruned vectors."""
        names = list(self.rows[0].measures)
        head = ["kept", "terms", "mass", *(f"overlap@{k}" for k in DEPTHS), "postings", *names]
        lines = [head, *([*_cells(row), *_changes(row, self.rows[0], names)] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([f"{self.pruned} pruned: {self.queries:,} queries on {self.documents:,} documents", *body])


def query_loss(
    vectors: SparseVectors,
    queries: CSR,
    at: Sequence[int] = (),
    ratios: Sequence[float] = (),
    ids: Sequence[str] = (),
    measure: Measure | None = None,
) -> LossTable:
    """The loss of pruning queries, over a sample of them.

    Args:
        vectors: the documents.
        queries: the sample, at least one.
        at: numbers of terms to keep.
        ratios: shares of the largest weight to keep terms down to.
        ids: of the queries, for `measure`.
        measure: judges a run.

    Raises:
        ConfigError: nothing to compare, or limits that keep nothing.
        SearchIndexError: queries of another vocabulary.
    """
    ways = _ways(queries, at, ratios)
    variants = [queries, *(way(queries) for way in ways.values())]
    found = rank(vectors, csr_concat(variants), max(DEPTHS))
    rankings = [found[i * queries.rows : (i + 1) * queries.rows] for i in range(len(variants))]
    rankings.insert(1, rank(vectors, queries, max(DEPTHS), stored_rows))
    variants.insert(1, queries)
    frequency = vectors.document_frequency()
    rows = []
    for name, variant, ranking in zip(["all", "all, 9 bits", *ways], variants, rankings, strict=True):
        mass = _share(float(variant.values.sum(dtype=np.float64)), float(queries.values.sum(dtype=np.float64)))
        touched = float(frequency[variant.indices].sum()) / queries.rows
        terms = len(variant.indices) / queries.rows
        rows.append(Loss(name, terms, mass, _overlaps(rankings[0], ranking), touched, _judged(measure, ids, ranking)))
    return LossTable("queries", queries.rows, len(vectors), tuple(rows))


def document_loss(
    vectors: SparseVectors,
    queries: CSR,
    at: Sequence[int] = (),
    ratios: Sequence[float] = (),
    ids: Sequence[str] = (),
    measure: Measure | None = None,
) -> LossTable:
    """The loss of pruning documents; one pass over them for each limit. Arguments as of `query_loss`."""
    ways: dict[str, Callable[[CSR], CSR]] = {"all": lambda rows: rows, "all, 9 bits": stored_rows}
    ways |= _ways(queries, at, ratios)
    losses: list[Loss] = []
    full: list[Ranking] = []
    weight = 0.0
    for name, way in ways.items():
        counted = _Counted(vectors.dim, way)
        ranking = rank(vectors, queries, max(DEPTHS), counted)
        if not losses:
            full, weight = ranking, counted.weight
        terms = int(counted.frequency.sum()) / max(1, len(vectors))
        touched = float(counted.frequency[queries.indices].sum()) / queries.rows
        mass = _share(counted.weight, weight)
        losses.append(Loss(name, terms, mass, _overlaps(full, ranking), touched, _judged(measure, ids, ranking)))
    return LossTable("documents", queries.rows, len(vectors), tuple(losses))


class _Counted:
    """A change of documents that counts what passes by."""

    def __init__(self, dim: int, way: Callable[[CSR], CSR]) -> None:
        self._way = way
        self.frequency = np.zeros(dim, np.int64)
        self.weight = 0.0

    def __call__(self, rows: CSR) -> CSR:
        changed = self._way(rows)
        self.frequency += np.bincount(changed.indices, minlength=len(self.frequency))
        self.weight += float(changed.values.sum(dtype=np.float64))
        return changed


def _ways(queries: CSR, at: Sequence[int], ratios: Sequence[float]) -> dict[str, Callable[[CSR], CSR]]:
    if queries.rows == 0:
        raise ConfigError("no query to measure the loss with", "give some, such as a conversations file")
    if not at and not ratios:
        raise ConfigError("nothing to prune to", "name numbers of terms, such as 8,16,32,64, or ratios")
    for top in at:
        check_limits(top, None)
    for ratio in ratios:
        check_limits(None, ratio)
    return {
        **{f"top {top}": partial(prune_rows, top=top) for top in at},
        **{f"ratio {ratio:g}": partial(prune_rows, ratio=ratio) for ratio in ratios},
    }


def _overlaps(full: Sequence[Ranking], pruned: Sequence[Ranking]) -> dict[int, float]:
    return {k: _overlap([r[:k] for r in full], [r[:k] for r in pruned]) for k in DEPTHS}


def _overlap(full: Sequence[Ranking], pruned: Sequence[Ranking]) -> float:
    shares = [
        len({name for name, _ in one} & {name for name, _ in other}) / len(one)
        for one, other in zip(full, pruned, strict=True)
        if one
    ]
    return float(np.mean(shares)) if shares else 1.0


def _judged(measure: Measure | None, ids: Sequence[str], rankings: Sequence[Ranking]) -> dict[str, float]:
    return {} if measure is None else dict(measure({n: dict(r) for n, r in zip(ids, rankings, strict=True)}))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _cells(row: Loss) -> list[str]:
    overlaps = (f"{row.overlap[k]:.3f}" for k in DEPTHS)
    return [row.kept, f"{row.terms:.1f}", f"{row.mass:.1%}", *overlaps, f"{row.postings:,.0f}"]


def _changes(row: Loss, first: Loss, names: Sequence[str]) -> list[str]:
    if row is first:
        return [f"{row.measures[name]:.4f}" for name in names]
    return [f"{row.measures[name]:.4f} ({row.measures[name] - first.measures[name]:+.4f})" for name in names]
