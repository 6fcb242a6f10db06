"""The HTML report of a comparison: one file that opens anywhere and fetches nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from distillir.errors import EvaluationError
from distillir.evaluation.comparison import Cell, Comparison
from distillir.evaluation.examples import Example, examples_section
from distillir.evaluation.formats import ABSENT, number, p_value, percent, span
from distillir.evaluation.page import flatten, page, table, text
from distillir.evaluation.plots import depth_plot, trade_off_plot

RECORD_FIELDS = ("commit", "versions", "seed", "settings", "data", "contexts_with_gold")
"""What a run record should hold; the report says so when one is missing."""


def write_report(
    path: str | Path,
    comparison: Comparison,
    record: Mapping[str, object],
    title: str,
    examples: Sequence[Example] | None = None,
) -> Path:
    """Write the report; a file of that name is replaced at once, never left half written.

    Args:
        path: where to; the folder is created.
        comparison: from `compare`.
        record: the run record; see `RECORD_FIELDS`. Nested mappings are shown as dotted names.
        title: heading of the page.
        examples: questions with what each system found.

    Raises:
        EvaluationError: the file cannot be written.
    """
    target = Path(path)
    content = render_report(comparison, record, title, examples)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(content)
        Path(temporary).chmod(0o644)
        os.replace(temporary, target)  # noqa: PTH105
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise EvaluationError(
            f"cannot write {target}: {error}", "check the folder, its rights and its space"
        ) from error
    return target


def render_report(
    comparison: Comparison, record: Mapping[str, object], title: str, examples: Sequence[Example] | None = None
) -> str:
    """The report as HTML text."""
    body = [f"<p>{text(comparison.summary())}</p>", *_systems(comparison), *_plots(comparison)]
    body += _depth_tables(comparison)
    body += _record(record)
    if examples:
        body += examples_section(examples)
    return page(title, body)


def _systems(comparison: Comparison) -> list[str]:
    keys = list(comparison.columns)
    head = ["System", *map(text, comparison.columns.values()), *(["latency"] if comparison.latency else [])]
    rows = []
    for name in comparison.systems:
        cells = [_cell(comparison, key, comparison.cells[name].get(key)) for key in keys]
        mark = "<br><small>baseline</small>" if name == comparison.baseline else ""
        rows.append([text(name) + mark, *cells, *([_latency(comparison, name)] if comparison.latency else [])])
    caption = (
        f"Mean, {percent(comparison.facts.level)} interval; change against the baseline, its interval and p. "
        "Bold: significant."
    )
    notes = [f"<li>{text(name)}: {text('; '.join(lines))}</li>" for name, lines in comparison.notes.items() if lines]
    blocks = ["<h2>Systems</h2>", table(head, rows, caption=caption, cards=True)]
    if notes:
        blocks.append(f"<ul>{''.join(notes)}</ul>")
    return [*blocks, *_corpora(comparison)]


def _cell(comparison: Comparison, key: str, cell: Cell | None) -> str:
    if cell is None:
        return f"<div>{ABSENT}</div>"
    lines = f"<div>{number(key, cell.mean)} <small>{span(key, cell.low, cell.high)}</small></div>"
    if cell.delta is None:
        return lines
    tag = "b" if comparison.significant(cell) else "span"
    bounds = span(key, cell.delta_low, cell.delta_high, sign=True, between=" to ")
    return (
        f'{lines}<div class="change"><{tag}>{number(key, cell.delta, sign=True)}</{tag}> <small>{bounds}</small></div>'
        f'<div class="change"><{tag}>p {text(p_value(cell.p_holm))}</{tag}></div>'
    )


def _latency(comparison: Comparison, name: str) -> str:
    latency = comparison.latency.get(name)
    if latency is None:
        return f"<div>{ABSENT}</div>"
    return (
        f"<div>{latency.median_ms:.3g} ms <small>90 %: {latency.p90_ms:.3g} ms</small> "
        f"<small>99 %: {latency.p99_ms:.3g} ms</small> <small>{latency.n:,} calls</small></div>"
    )


def _corpora(comparison: Comparison) -> list[str]:
    corpora = comparison.facts.corpora
    if not comparison.flops_by_corpus:
        return []
    blocks = [
        '<p class="soft">flops@corpus: expected multiplications for one query and one document of its corpus.</p>'
    ]
    if len(corpora) > 1:
        rows = [
            [text(name), *(number("flops", by_corpus[corpus]) for corpus in corpora)]
            for name, by_corpus in comparison.flops_by_corpus.items()
        ]
        head = ["flops@corpus", *map(text, corpora)]
        blocks.append(f"<details><summary>flops in each corpus</summary>{table(head, rows)}</details>")
    return blocks


def _plots(comparison: Comparison) -> list[str]:
    columns = comparison.columns
    quality = comparison.headline
    figures = []
    for key in dict.fromkeys((quality, "r10", "active")):
        if comparison.depth.get(key):
            figures.append((f"{columns[key]} by turn depth", depth_plot(comparison, key)))
    if "flops" in columns:
        figures.append((f"{columns[quality]} against {columns['flops']}", trade_off_plot(comparison, quality)))
    if not figures:
        return []
    drawn = "".join(f"<figure><figcaption>{text(name)}</figcaption>{svg}</figure>" for name, svg in figures)
    return ["<h2>Plots</h2>", f'<div class="plots">{drawn}</div>']


def _depth_tables(comparison: Comparison) -> list[str]:
    if not comparison.depth:
        return []
    blocks = []
    for key, by_system in comparison.depth.items():
        points = next(iter(by_system.values()))
        head = ["System", *(text(f"turn {p.bucket} (n={p.queries})") for p in points)]
        rows = [
            [text(name), *(f"{number(key, p.mean)}<small>{span(key, p.low, p.high)}</small>" for p in line)]
            for name, line in by_system.items()
        ]
        blocks.append(f"<h3>{text(comparison.columns[key])}</h3>{table(head, rows)}")
    return [f"<details><summary>All numbers by turn depth</summary>{''.join(blocks)}</details>"]


def _record(record: Mapping[str, object]) -> list[str]:
    missing = [(field, "not recorded") for field in RECORD_FIELDS if field not in record]
    rows = [[text(name), text(value)] for name, value in [*flatten(record), *missing]]
    return ["<h2>Run record</h2>", table(["Field", "Value"], rows)]
