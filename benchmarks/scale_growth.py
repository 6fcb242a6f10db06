"""What measured points say of growth: slopes on log scales, where two lines cross, where one passes a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

Points = Sequence[tuple[float, float]]  # (documents, value), rising in documents, all above zero


def lines_of(rows: dict[str, Any]) -> dict[str, dict[str, Points]]:
    """What is plotted: name of the figure → name of the line → (documents, value)."""
    asked = {
        "query p50": ("search", "p50_ms"),
        "query p95": ("search", "p95_ms"),
        "query memory": ("search", "rss_mb"),
        "index seconds": ("build", "seconds"),
        "index memory": ("build", "rss_mb"),
        "index disk": ("build", "disk_mb"),
        "step seconds": ("step", "step_s"),
        "loss seconds": ("step", "loss_s"),
        "step memory": ("step", "rss_mb"),
    }
    made: dict[str, dict[str, Points]] = {}
    for what, (part, key) in asked.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for documents, row in rows.items():
            for name, found in row[part].items():
                if found.get(key):
                    lines.setdefault(name, []).append((float(documents), found[key]))
        made[what] = dict(lines)
    return made


def slope(points: Points) -> float | None:
    """Least squares on log scales: 1 grows linearly, 0 not at all. None of a single point."""
    if len(points) < 2:
        return None
    x, y = np.log(np.asarray(points, float)).T
    return float(np.polyfit(x, y, 1)[0])


def crossings(lines: Mapping[str, Points]) -> list[dict[str, Any]]:
    """Of each pair: which is lower at the smallest size both have, and at how many documents that ends, if it does."""
    found = []
    for one, other in combinations(lines, 2):
        first, second = dict(lines[one]), dict(lines[other])
        sizes = sorted(first.keys() & second.keys())
        if len(sizes) < 2:
            continue
        gaps = [(np.log(size), np.log(first[size] / second[size])) for size in sizes]
        lower, higher = (one, other) if gaps[0][1] <= 0 else (other, one)
        at = None
        for (x, gap), (next_x, next_gap) in pairwise(gaps):
            if (gap < 0) != (next_gap < 0):
                at = float(np.exp(x + (next_x - x) * gap / (gap - next_gap)))
                break
        found.append({"lower": lower, "than": higher, "until": at, "measured_to": int(sizes[-1])})
    return found


def passes(points: Points, level: float) -> tuple[float, bool]:
    """Documents at which a rising line passes a level, and whether that lies between measured points; if not, it is
    what linear growth makes of the nearest point."""
    for (x, y), (next_x, next_y) in pairwise(points):
        if y <= level <= next_y and y < next_y:
            return float(x * (next_x / x) ** (np.log(level / y) / np.log(next_y / y))), True
    x, y = points[0] if points[0][1] > level else points[-1]
    return x * level / y, False
