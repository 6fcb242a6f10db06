"""Plots as inline SVG: text stays text, and colours are CSS variables that follow dark mode.

matplotlib is loaded when a plot is drawn, not before.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distillir.evaluation.comparison import Comparison
from distillir.evaluation.formats import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that matplotlib accepts; each becomes a CSS variable of the page.
_INK, _GRID, _PAPER = "#fe00f0", "#fe00f1", "#fe00f2"
_SERIES = tuple(f"#fe000{i}" for i in range(1, 8))
_VARIABLES = {_INK: "--ink", _GRID: "--grid", _PAPER: "--paper"} | {c: f"--s{i}" for i, c in enumerate(_SERIES, 1)}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))
_NAME_LENGTH = 44


def depth_plot(comparison: Comparison, key: str, *, plot: str = "") -> str:
    """One column by turn depth: a line and intervals for each system, the number of queries under each bucket.

    Args:
        comparison: what is drawn.
        key: of the column.
        plot: name of the figure, unique in its page; by default the column's.
    """
    by_system = comparison.depth[key]
    label = comparison.columns[key]
    figure, axes = _figure(len(by_system))
    points = next(iter(by_system.values()))
    lines: dict[str, Any] = {}
    for i, (name, line) in enumerate(by_system.items()):
        shift = 0.36 * ((i + 0.5) / len(by_system) - 0.5)  # side by side, so that intervals do not hide each other
        x = [position + shift for position in range(len(line))]
        lines[name] = _draw(
            axes, comparison, name, x=x, y=[p.mean for p in line], y_bounds=[(p.low, p.high) for p in line]
        )
    axes.set_xticks(range(len(points)), [f"{p.bucket}\nn={p.queries}" for p in points])
    axes.set_xlabel("turn of the conversation")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    parts = (
        f"{name}: " + ", ".join(f"turn {p.bucket} {number(key, p.mean)}" for p in by_system[name]) for name in by_system
    )
    return _svg(figure, axes, lines, plot=plot or f"{key}-depth", title=f"{label} by turn depth", text="; ".join(parts))


def trade_off_plot(comparison: Comparison, key: str, *, front: Sequence[str] = ()) -> str:
    """One measure against flops, with both intervals; up and to the left is better.

    Args:
        comparison: what is drawn.
        key: of the measure.
        front: systems to join by a line, such as those that no other beats in both.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    label, cost = comparison.columns[key], comparison.columns["flops"]
    cells = {name: row for name, row in comparison.cells.items() if "flops" in row}
    figure, axes = _figure(len(cells))
    lines: dict[str, Any] = {}
    for name, row in cells.items():
        x, y = row["flops"], row[key]
        lines[name] = _draw(
            axes, comparison, name, x=[x.mean], y=[y.mean], y_bounds=[(y.low, y.high)], x_bounds=[(x.low, x.high)]
        )
    if front:
        corners = [(cells[name]["flops"].mean, cells[name][key].mean) for name in front]
        axes.plot(*zip(*corners, strict=True), color=_INK, linewidth=0.9, drawstyle="steps-post", zorder=1)
    costs = [row["flops"].mean for row in cells.values()]
    if min(costs) > 0 and max(costs) > 8 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        cost += ", log scale"
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(cost)
    axes.set_ylabel(label)
    axes.grid(color=_GRID, linewidth=0.6)
    parts = (
        f"{name}: {number('flops', row['flops'].mean)} flops, {number(key, row[key].mean)}"
        for name, row in cells.items()
    )
    return _svg(figure, axes, lines, plot=f"{key}-flops", title=f"{label} against {cost}", text="; ".join(parts))


def growth_plot(lines: Mapping[str, Sequence[tuple[float, float]]], *, plot: str, title: str, x: str, y: str) -> str:
    """What grows with a size, both on log scales: what grows linearly has slope 1.

    Args:
        lines: name → (size, value) points, all above zero.
        plot: name of the figure, unique in its page.
        title: of the figure, for screen readers.
        x, y: labels of the axes.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = _figure(len(lines))
    drawn: dict[str, Any] = {}
    for i, (name, points) in enumerate(lines.items()):
        (drawn[name],) = axes.plot(
            *zip(*points, strict=True),
            color=_SERIES[i % len(_SERIES)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=6,
            markeredgecolor=_PAPER,
            markeredgewidth=0.8,
            linestyle=_LINES[i // len(_SERIES) % len(_LINES)],
            linewidth=1.6,
        )
    sizes = sorted({size for points in lines.values() for size, _ in points})
    values = [value for points in lines.values() for _, value in points]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if max(values) > 50 * min(values) else (1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=_GRID, linewidth=0.6)
    parts = (f"{name}: " + ", ".join(f"{size:,.0f} {value:.3g}" for size, value in lines[name]) for name in lines)
    return _svg(figure, axes, drawn, plot=plot, title=title, text="; ".join(parts))


def _draw(
    axes: Axes,
    comparison: Comparison,
    name: str,
    *,
    x: list[float],
    y: list[float],
    y_bounds: list[tuple[float | None, float | None]],
    x_bounds: list[tuple[float | None, float | None]] | None = None,
) -> Any:
    """Markers, line and intervals in the style that this system has in every plot."""
    order = [n for n in comparison.systems if n != comparison.baseline]
    place = -1 if name == comparison.baseline else order.index(name)
    color = _INK if place < 0 else _SERIES[place % len(_SERIES)]
    return axes.errorbar(
        x,
        y,
        yerr=_errors(y, y_bounds),
        xerr=_errors(x, x_bounds) if x_bounds else None,
        color=color,
        marker="h" if place < 0 else _MARKERS[place % len(_MARKERS)],
        markersize=6,
        markeredgecolor=_PAPER,
        markeredgewidth=0.8,
        linestyle=(0, (3, 1.5, 1, 1.5)) if place < 0 else _LINES[place // len(_SERIES) % len(_LINES)],
        linewidth=1.6,
        elinewidth=0.9,
    )


def _errors(means: list[float], bounds: list[tuple[float | None, float | None]]) -> list[list[float]]:
    below = [0.0 if low is None else max(0.0, mean - low) for mean, (low, _) in zip(means, bounds, strict=True)]
    above = [0.0 if high is None else max(0.0, high - mean) for mean, (_, high) in zip(means, bounds, strict=True)]
    return [below, above]


def _figure(series: int) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.1 + 0.2 * series), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(_GRID)
    axes.tick_params(which="both", colors=_INK, length=0)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, axes: Axes, lines: dict[str, Any], *, plot: str, title: str, text: str) -> str:
    import matplotlib as mpl

    names = [n if len(n) <= _NAME_LENGTH else f"{n[: _NAME_LENGTH - 1]}…" for n in lines]
    legend = figure.legend(
        list(lines.values()), ["?"] * len(names), loc="outside lower left", frameon=False, fontsize=9
    )
    for entry, name in zip(legend.get_texts(), names, strict=True):
        entry.set_text(name)  # given afterwards, because a legend drops names that start with an underscore
    for entry in (*legend.get_texts(), axes.xaxis.label, axes.yaxis.label):
        entry.set_parse_math(False)  # a dollar sign in a name is not mathematics
        entry.set_color(_INK)
    out = io.StringIO()
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": plot, "font.size": 10}
    with mpl.rc_context(style), warnings.catch_warnings():
        # The browser draws the letters, so a glyph that matplotlib's own font lacks does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _adapt(out.getvalue(), plot, title, text)


def _adapt(svg: str, name: str, title: str, description: str) -> str:
    """A standalone SVG made fit to inline: own ids, the page's size and colours, a title for screen readers."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    head, rest = body.split(">", 1)
    view = re.search(r'viewBox="([^"]*)"', head)
    rest = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", rest)
    for color, variable in _VARIABLES.items():
        rest = re.sub(rf"((?:fill|stroke): ?){color}\b", rf"\g<1>var({variable})", rest)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'viewBox="{view.group(1) if view else "0 0 345 260"}" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-text">{html.escape(description)}</desc>{rest}'
    )
