"""A comparison as aligned plain text; ASCII apart from the names and notes that a user gives."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distillir.evaluation.formats import milliseconds, number, p_value, span

if TYPE_CHECKING:
    from distillir.evaluation.comparison import Cell, Comparison


def text_tables(comparison: Comparison) -> str:
    """Five lines a system (mean, interval, change, its interval, p), the main columns by turn depth, the notes."""
    blocks = [comparison.summary(), _systems(comparison)]
    blocks += [_depth(comparison, key) for key in (comparison.headline, "active") if key in comparison.depth]
    notes = [f"{name}: {'; '.join(lines)}" for name, lines in comparison.notes.items() if lines]
    return "\n\n".join([*blocks, "\n".join(notes)] if notes else blocks)


def _systems(comparison: Comparison) -> str:
    keys = list(comparison.columns)
    rows = [["", *comparison.columns.values(), *(["median latency"] if comparison.latency else [])]]
    for name in comparison.systems:
        cells = [comparison.cells[name].get(key) for key in keys]
        wait = [milliseconds(comparison.latency.get(name))] if comparison.latency else []
        rows.append([name, *(number(k, c.mean if c else None) for k, c in zip(keys, cells, strict=True)), *wait])
        rows.append(["  interval", *(_interval(k, c) for k, c in zip(keys, cells, strict=True))])
        if name == comparison.baseline:
            rows[-2][0] += " (baseline)"
            continue
        rows.append(["  change", *(_change(comparison, k, c) for k, c in zip(keys, cells, strict=True))])
        rows.append(["  interval", *(_change_interval(k, c) for k, c in zip(keys, cells, strict=True))])
        rows.append(["  p", *(p_value(c.p_holm if c else None) for c in cells)])
    return aligned(rows)


def _interval(key: str, cell: Cell | None) -> str:
    return span(key, cell.low if cell else None, cell.high if cell else None, between="..")


def _change(comparison: Comparison, key: str, cell: Cell | None) -> str:
    star = "*" if cell and comparison.significant(cell) else ""
    return number(key, cell.delta if cell else None, sign=True) + star


def _change_interval(key: str, cell: Cell | None) -> str:
    return span(key, cell.delta_low if cell else None, cell.delta_high if cell else None, sign=True, between="..")


def _depth(comparison: Comparison, key: str) -> str:
    by_system = comparison.depth[key]
    points = next(iter(by_system.values()))
    rows = [[f"{comparison.columns[key]} by turn", *(point.bucket for point in points)]]
    rows += [[name, *(number(key, point.mean) for point in line)] for name, line in by_system.items()]
    return aligned([*rows, ["queries", *(str(point.queries) for point in points)]])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns under each other; all but the first to the right."""
    widths = [max(_width(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=False))
    return row[0] + first + "".join(f"  {pad}{cell}" for pad, cell in zip(rest, row[1:], strict=True))


def _width(text: str) -> int:
    """Columns that a terminal gives to a text: two for wide characters, none for combining marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
