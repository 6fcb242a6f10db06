"""Rows of a JSON file that is one array, one element in memory at a time: some releases are arrays of gigabytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillir.data.files import read_lines
from distillir.data.rows import Row, parse_json
from distillir.errors import DataError

# A text has no line break inside in JSON, so brackets outside of texts can be told line by line.
MARK = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]')
WHOLE = "fetch the file again; the release is one JSON array of objects"


def read_json_array(path: str | Path) -> Iterator[Row]:
    """Rows of a file that holds one JSON array of objects, plain or packed; a row's line is where it begins.

    Raises:
        DataError: as `read_lines`, no array, an element that is no object, JSON that cannot be read, a truncated array.
    """
    path = Path(path)
    held: list[str] = []
    depth, begun, found, closed = 0, 0, False, False
    for number, line in read_lines(path):
        start = 0
        for mark in MARK.finditer(line):
            kind = mark[0][0]
            if closed:
                raise DataError(path, "there is something after the end of the array", line=number, cure=WHOLE)
            if depth < 2 and kind != ("[", "{")[depth] and not (depth and kind == "]"):
                what = "an element of the array is no object" if depth else "not a JSON array"
                raise DataError(path, what, line=number, cure=WHOLE)
            if kind in "[{":
                depth += 1
                if depth == 2:
                    begun, start = number, mark.start()
            elif kind in "]}":
                depth -= 1
                closed = depth == 0
                if depth == 1:
                    text = "".join([*held, line[start : mark.end()]])
                    held, found = [], True
                    yield Row(path, begun, parse_json(path, begun, text))
        if depth > 1:
            held.append(f"{line[start:]}\n")
        elif not depth and not closed:
            raise DataError(path, "not a JSON array", line=number, cure=WHOLE)
    if not closed:
        raise DataError(path, "the array ends early (truncated)", line=begun or None, cure=WHOLE)
    if not found:
        raise DataError(path, "the array holds no object", cure=WHOLE)


def read_json_object(path: str | Path) -> dict[str, Any]:
    """A file that is one JSON object, read whole.

    Raises:
        DataError: as `read_lines`, or something else than an object.
    """
    path = Path(path)
    value = parse_json(path, None, "\n".join(line for _, line in read_lines(path)))
    if not isinstance(value, dict):
        raise DataError(path, f"a JSON {type(value).__name__}, not an object", cure="fetch the file again")
    return value
