"""The outcome of a comparison: one cell for each system and column, ready for JSON, a terminal or the HTML report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillir.evaluation.efficiency import Latency
from distillir.evaluation.formats import percent
from distillir.evaluation.text import text_tables


@dataclass(frozen=True)
class Cell:
    """One system under one measure: mean and interval, and what sets it apart from the baseline.

    The interval is absent with a single conversation; everything from `delta` on is absent for the baseline itself and
    where the baseline lacks the measure.
    """

    mean: float
    low: float | None
    high: float | None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class DepthPoint:
    """Mean of one system in one bucket of turn depth."""

    bucket: str
    queries: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Facts:
    """What stands behind the numbers.

    Attributes:
        queries: judged queries, all of which count.
        conversations: clusters that are drawn and flipped.
        with_gold: judged queries that have a relevant document.
        corpora: queries on each named corpus; empty when no system states its flops.
        level: share of draws inside an interval; 1 - level is also the significance level.
        resamples: draws of the bootstrap and flips of the test.
        seed: of both.
    """

    queries: int
    conversations: int
    with_gold: int
    corpora: Mapping[str, int]
    level: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Comparison:
    """Systems against a baseline.

    Attributes:
        baseline: name of the system that the others are compared with.
        systems: names, in the order given.
        columns: column key to label: `{"r10": "R@10", …, "mrr": "MRR", "active": …, "flops": …}`.
        cells: by system and column key; a system that does not state its active dimensions or flops lacks the cell.
        depth: by column key and system, one point for each non-empty bucket, shallow to deep; empty without depths.
        flops_by_corpus: by system and corpus, the mean over that corpus's queries.
        latency: by system, where measured.
        notes: by system, what its reader must know.
        facts: counts and settings.
    """

    baseline: str
    systems: tuple[str, ...]
    columns: dict[str, str]
    cells: dict[str, dict[str, Cell]]
    depth: dict[str, dict[str, list[DepthPoint]]]
    flops_by_corpus: dict[str, dict[str, float]]
    latency: dict[str, Latency]
    notes: dict[str, list[str]]
    facts: Facts

    @property
    def headline(self) -> str:
        """The measure that stands for quality where only one is shown: R@100, else the first."""
        return "r100" if "r100" in self.columns else next(iter(self.columns))

    def significant(self, cell: Cell) -> bool:
        """Whether the Holm-corrected p-value lies below 1 - level."""
        return cell.p_holm is not None and cell.p_holm < 1 - self.facts.level

    def table(self) -> list[dict[str, Any]]:
        """One flat row a system, JSON-able: `r10`, `r10_low`, `r10_high`, `r10_delta`, `r10_delta_low`,
        `r10_delta_high`, `r10_p`, `r10_p_holm` and so on for each column; None where there is nothing to say."""
        return [self._row(name) for name in self.systems]

    def to_json(self) -> str:
        """Everything as JSON text: facts, table, turn depth, flops by corpus."""
        depth = {
            key: {name: [vars(point) for point in points] for name, points in by_system.items()}
            for key, by_system in self.depth.items()
        }
        content = {
            "baseline": self.baseline,
            "facts": {**vars(self.facts), "corpora": dict(self.facts.corpora)},
            "columns": self.columns,
            "systems": self.table(),
            "depth": depth,
            "flops_by_corpus": self.flops_by_corpus,
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)

    def summary(self) -> str:
        """One sentence: what was compared, and how intervals and p-values were made."""
        facts = self.facts
        searched = ", ".join(f"{name} ({queries:,} queries)" for name, queries in facts.corpora.items())
        return (
            f"{facts.queries:,} judged queries ({percent(facts.with_gold / facts.queries)} with a relevant document) "
            f"in {facts.conversations:,} conversations. {percent(facts.level)} intervals: bootstrap by conversation, "
            f"{facts.resamples:,} draws. Change: against {self.baseline!r}, p from sign flips by conversation, "
            f"Holm-corrected over the systems of each column."
            + (f" Corpora of the flops: {searched}." if searched else "")
        )

    def text(self) -> str:
        """Aligned plain text for a terminal; a star marks a significant change."""
        return text_tables(self)

    def _row(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = {"system": name, "baseline": name == self.baseline}
        for key in self.columns:
            cell = self.cells[name].get(key)
            for field in Cell.__dataclass_fields__:
                row[key if field == "mean" else f"{key}_{field}"] = getattr(cell, field) if cell else None
        latency = self.latency.get(name)
        for field in Latency._fields:
            row[f"latency_{field}"] = getattr(latency, field) if latency else None
        return {**row, "notes": self.notes[name]}
