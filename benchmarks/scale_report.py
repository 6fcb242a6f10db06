"""The report of `scale`: one page with plots and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.run import machine
from benchmarks.scale_growth import lines_of
from distillir.evaluation.page import flatten, page, table, text
from distillir.evaluation.plots import growth_plot
from distillir.recipes.record import commit, versions

UNITS = {
    "query p50": "milliseconds a query, median",
    "query p95": "milliseconds a query, 95th percentile",
    "query memory": "MB without file-backed pages, at most",
    "index seconds": "seconds of the build",
    "index memory": "MB without file-backed pages, at most",
    "index disk": "MB on disk",
    "step seconds": "seconds a training step",
    "loss seconds": "seconds of its loss and back",
    "step memory": "MB without file-backed pages, at most",
}
LINEAR = "A line of slope 1 grows linearly."

Row = Mapping[str, Any]


def write_report(path: Path, result: Mapping[str, Any]) -> Path:
    """Write the page of a result of `scale`."""
    rows, slopes = result["rows"], result["slopes"]
    body = [f"<p>{text(summary(result))}</p>", "<h2>Growth</h2>", f"<p>Both axes are logarithmic. {LINEAR}</p>"]
    figures = [
        f"<figure><figcaption>{text(what)}</figcaption>"
        + growth_plot(lines, plot=what.replace(" ", "-"), title=f"{what} by documents", x="documents", y=UNITS[what])
        + "</figure>"
        for what, lines in lines_of(rows).items()
        if lines
    ]
    body.append(f'<div class="plots">{"".join(figures)}</div>')
    body += ["<h2>Searching</h2>", by_size(rows, "search", searched, slopes["query p50"])]
    body.append(f"<ul>{''.join(f'<li>{text(crossing(one))}</li>' for one in result['crossings'])}</ul>")
    body += ["<h2>Building</h2>", by_size(rows, "build", built, slopes["index seconds"])]
    body += ["<h2>Training</h2>", by_size(rows, "step", stepped, slopes["step seconds"]), other(rows)]
    told = [(name, value) for name, value in result.items() if name != "rows"]
    record = flatten({**dict(told), "commit": commit(), "versions": versions(), "machine": machine()})
    body += ["<h2>Run record</h2>", table(["Field", "Value"], [[text(name), text(value)] for name, value in record])]
    path.write_text(page("Growth with the collection", body), encoding="utf-8")
    return path


def summary(result: Mapping[str, Any]) -> str:
    """What the page says first."""
    smallest, largest = result["documents"][0], result["documents"][-1]
    return (
        f"From {smallest:,} to {largest:,} documents a sampled training step takes "
        f"{result['step_time_largest_over_smallest']:g} times as long (the two by turns, in one process), and its "
        f"process holds {result['rss_mb_largest']} MB instead of {result['rss_mb_smallest']}, file-backed pages apart. "
        f"Each measurement is a process of its own on {result['threads']} threads; collections are synthetic."
    )


def crossing(one: Row) -> str:
    """Which of two engines is faster, and up to where."""
    until = f"up to {one['until']:,.0f}" if one["until"] else f"at every size up to {one['measured_to']:,}"
    return f"{one['lower']} is faster than {one['than']} {until} documents (median query)."


def by_size(rows: Row, part: str, cell: Callable[[Row], str], slopes: Row) -> str:
    """A table of one part: a row a name, a column a size, and the slope."""
    names = dict.fromkeys(name for row in rows.values() for name in row[part])
    lines = []
    for name in names:
        found = [row[part].get(name) for row in rows.values()]
        cells = ["–" if one is None else text(one["skipped"]) if "skipped" in one else cell(one) for one in found]
        grows = slopes.get(name)
        lines.append([text(name), *cells, "–" if grows is None else f"{grows:.2f}"])
    return table(["", *(f"{int(size):,}" for size in rows), "slope"], lines)


def searched(one: Row) -> str:
    """Milliseconds, what is found, memory."""
    return (
        f"{one['p50_ms']:.3g} ms <small>95 %: {one['p95_ms']:.3g} ms</small><small>{one['found']:.3f} found</small>"
        + memory(one)
    )


def built(one: Row) -> str:
    """Seconds, memory, disk."""
    return f"{one['seconds']:.3g} s {memory(one)}<small>{one['disk_mb']:.0f} MB disk</small>"


def stepped(one: Row) -> str:
    """Seconds, and of them the batch's and the loss's; memory."""
    return (
        f"{one['step_s']:.3g} s <small>batch: {1000 * one['batch_s']:.3g} ms</small>"
        f"<small>loss: {1000 * one['loss_s']:.3g} ms</small>{memory(one)}"
    )


def memory(one: Row) -> str:
    """Megabytes, where the system tells them."""
    return f"<small>{one['rss_mb']:.0f} MB memory</small>" if "rss_mb" in one else ""


def other(rows: Row) -> str:
    """What is done once a collection or a context."""
    lines = [
        [
            f"{int(size):,}",
            f"{row['collection']['seconds']:.3g} s",
            f"{row['collection']['disk_mb']:.0f} MB",
            f"{row['collection']['active']:.0f} / {row['collection']['flops']:.2f}",
            f"{1000 * row['rank']['seconds_per_context']:.3g} ms",
            f"{row['locate']['table_mb']:.0f} MB",
        ]
        for size, row in rows.items()
    ]
    head = ["documents", "writing vectors", "on disk", "active / FLOPS", "ranking 1,000 a context", "table of ids"]
    return table(head, lines)
