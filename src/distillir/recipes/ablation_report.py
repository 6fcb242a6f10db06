"""What an ablation shows: a table a factor, quality against cost with its Pareto front, and turn by turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distillir.evaluation import Comparison, SystemResult, compare
from distillir.evaluation.formats import number, span
from distillir.evaluation.page import flatten, page, table, text
from distillir.evaluation.plots import depth_plot, trade_off_plot
from distillir.evaluation.text import aligned
from distillir.recipes.ablation_plan import BASE, Cell
from distillir.recipes.marks import write_text

MARGIN = 0.02  # of the baseline's R@100: a loss below it counts as none
QUALITY, COST = "r100", "flops"
MEASURED = ("r10", "r100", "ndcg10", "mrr", "active", "flops")
LATE, FIRST = "6+", "1"  # turns


@dataclass(frozen=True)
class Verdict:
    """Whether a cell's R@100 is as good as the baseline's, up to a margin.

    Attributes:
        reduction: the baseline's FLOPS over the cell's.
        low, high: interval of the cell's R@100 less the baseline's.
        margin: the loss that counts as none.
        says: "not inferior", "inferior", or "undecided" where the interval crosses the margin.
    """

    reduction: float
    low: float
    high: float
    margin: float
    says: str


@dataclass(frozen=True)
class Ablation:
    """Cells compared on pooled (context, seed) queries.

    Attributes:
        comparison: of all cells, and of the untrained gate, with the baseline.
        levels: cell → factor → level.
        training: cell → how each of its trainings ended.
    """

    comparison: Comparison
    levels: Mapping[str, Mapping[str, str]]
    training: Mapping[str, Sequence[Mapping[str, Any]]]

    def factors(self) -> dict[str, list[str]]:
        """Factor → the baseline and the cells that vary it alone; cells that vary several are under all their names."""
        found: dict[str, list[str]] = {}
        for name, levels in self.levels.items():
            if levels:
                found.setdefault(" × ".join(levels), [BASE]).append(name)
        return found

    def verdict(self, name: str) -> Verdict | None:
        """Non-inferiority of a cell in R@100 at 2 % of the baseline's; None of the baseline, or without intervals."""
        base, cell = self.comparison.cells[BASE], self.comparison.cells[name].get(QUALITY)
        if cell is None or cell.delta_low is None or cell.delta_high is None:
            return None
        cost = self.comparison.cells[name][COST].mean
        margin = MARGIN * base[QUALITY].mean
        says = "undecided"
        if cell.delta_low >= -margin:
            says = "not inferior"
        elif cell.delta_high < -margin:
            says = "inferior"
        return Verdict(base[COST].mean / cost if cost else float("inf"), cell.delta_low, cell.delta_high, margin, says)

    def late_over_first(self, name: str) -> float | None:
        """Active dimensions of turns from the sixth on over those of first turns; None without either."""
        by_turn = {point.bucket: point.mean for point in self.comparison.depth["active"][name]}
        return by_turn[LATE] / by_turn[FIRST] if LATE in by_turn and by_turn.get(FIRST) else None

    def front(self) -> list[str]:
        """Cells that no other beats in R@100 at as few FLOPS, cheapest first."""
        cells = self.comparison.cells
        order = sorted(cells, key=lambda name: (cells[name][COST].mean, -cells[name][QUALITY].mean))
        best, found = float("-inf"), []
        for name in order:
            if cells[name][QUALITY].mean > best:
                best = cells[name][QUALITY].mean
                found.append(name)
        return found

    def to_json(self) -> str:
        """Everything as JSON text."""
        verdicts = {name: self.verdict(name) for name in self.comparison.systems}
        content = {
            "comparison": json.loads(self.comparison.to_json()),
            "levels": {name: dict(levels) for name, levels in self.levels.items()},
            "verdicts": {name: None if v is None else vars(v) for name, v in verdicts.items()},
            "late_over_first": {name: self.late_over_first(name) for name in self.comparison.systems},
            "front": self.front(),
            "training": {name: list(map(dict, ended)) for name, ended in self.training.items()},
        }
        return json.dumps(content, ensure_ascii=False, indent=1)

    def text(self) -> str:
        """A table a factor, for a terminal."""
        blocks = [self.comparison.summary()]
        for factor, names in self.factors().items():
            blocks.append(aligned([[factor, *HEAD], *([name, *self._row(name)] for name in names)]))
        blocks.append("Pareto front (R@100 against FLOPS), cheapest first: " + ", ".join(self.front()))
        return "\n\n".join(blocks)

    def _row(self, name: str) -> list[str]:
        cells, verdict = self.comparison.cells[name], self.verdict(name)
        late = self.late_over_first(name)
        told = ["", "", "baseline"]
        if verdict is not None:
            change = span(QUALITY, verdict.low, verdict.high, sign=True, between="..")
            told = [change, f"{verdict.reduction:.2f}", verdict.says]
        return [*(number(key, cells[key].mean) for key in MEASURED), *told, "" if late is None else f"{late:.2f}"]


HEAD = (
    "R@10", "R@100", "nDCG@10", "MRR", "active", "FLOPS", "change in R@100", "FLOPS less by", "verdict", "turn 6+ / 1"
)  # fmt: skip


def ablation_of(
    systems: Sequence[SystemResult],
    cells: Sequence[Cell],
    *,
    qrels: Mapping[str, Mapping[str, int]],
    depth: Mapping[str, int],
    group: Mapping[str, str],
    corpus: Mapping[str, str],
    training: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Ablation:
    """Compare the pooled systems; by query: judgements, turn, conversation, corpus."""
    compared = compare(systems, qrels, depth, group, BASE, corpus=corpus)
    return Ablation(compared, {cell.name: cell.levels for cell in cells}, training)


def write_ablation_report(path: Path, ablation: Ablation, record: Mapping[str, object]) -> Path:
    """Write the page; a file of that name is replaced at once."""
    compared = ablation.comparison
    body = [f"<p>{text(compared.summary())}</p>", "<h2>Quality against cost</h2>"]
    body.append(f"<figure>{trade_off_plot(compared, QUALITY, front=ablation.front())}</figure>")
    for i, (factor, names) in enumerate(ablation.factors().items()):
        rows = [[text(name), *map(text, ablation._row(name))] for name in names]
        body += [f"<h2>{text(factor)}</h2>", table([text(factor), *map(text, HEAD)], rows, cards=True)]
        some = only(compared, names)
        drawn = [
            depth_plot(some, key, plot=f"factor{i}-{key}") for key in (QUALITY, "active") if compared.depth.get(key)
        ]
        body.append('<div class="plots">' + "".join(f"<figure>{svg}</figure>" for svg in drawn) + "</div>")
    rows = [[text(name), text(value)] for name, value in flatten(record)]
    body += ["<h2>Run record</h2>", table(["Field", "Value"], rows)]
    write_text(path, page("Ablation", body))
    return path


def only(comparison: Comparison, names: Sequence[str]) -> Comparison:
    """Some systems of a comparison."""
    return replace(
        comparison,
        systems=tuple(names),
        cells={name: comparison.cells[name] for name in names},
        depth={key: {name: lines[name] for name in names} for key, lines in comparison.depth.items()},
    )
