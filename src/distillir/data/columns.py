"""Rows of columns: the TREC and the tab-separated files of judgements and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from distillir.data.files import read_lines
from distillir.errors import DataError

Format = Literal["trec", "tsv"]


def read_columns(
    path: Path, widths: dict[Format, int], header: Sequence[str], format: Format | None
) -> Iterator[tuple[int, Format, list[str]]]:
    """Yield (line, format, columns).

    Args:
        path: the file, plain or gzipped.
        widths: columns of a row in each format.
        header: names on the first line of a tab-separated file, skipped when it stands there.
        format: None = tab-separated when the first line splits at tabs into that format's width.

    Raises:
        DataError: a row with another number of columns.
    """
    for number, line in read_lines(path):
        if format is None:
            format = "tsv" if len(line.split("\t")) == widths["tsv"] else "trec"
        columns = [column.strip() for column in line.split("\t")] if format == "tsv" else line.split()
        if number == 1 and format == "tsv" and columns == list(header):
            continue
        if len(columns) != widths[format] or not all(columns):
            filled = sum(map(bool, columns))
            raise DataError(path, f"{filled} columns where a {format} row has {widths[format]}", line=number)
        yield number, format, columns


def format_of(path: Path) -> Format:
    """Format a name asks for: tab-separated for .tsv and .tsv.gz, TREC otherwise."""
    return "tsv" if path.name.removesuffix(".gz").endswith(".tsv") else "trec"


def check_writable(path: Path, name: str, format: Format) -> str:
    """An id that the format can hold, or a DataError."""
    bad = any(c in name for c in "\t\n\r\0") or name != name.strip() if format == "tsv" else name.split() != [name]
    if bad or not name:
        raise DataError(
            path, f"the id {name!r} cannot stand in a {format} file", cure="ids must have no blanks in them"
        )
    return name
