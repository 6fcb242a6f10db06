"""JSON files as rows: one value a line, one array of many, or a few values that spread over lines.

Lines are read one by one, and a bad one costs only itself. Arrays are read an element at a time, never whole,
so that an export of gigabytes takes the memory of its largest chat; behind broken JSON nothing more can be found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from distillir.data.chats.chat import SURROGATE
from distillir.data.chats.sources import open_log
from distillir.data.rows import parse_json
from distillir.errors import DataError

CHUNK = 1 << 16
HALF = "half a character, or not UTF-8"


class Entry(NamedTuple):
    """One row: its first line, its value, and what is wrong with it ("" = nothing)."""

    line: int
    value: Any = None
    wrong: str = ""


def json_entries(path: Path, head: str) -> Iterator[Entry]:
    """Rows of a JSON or JSONL file; `head` is its beginning, which tells the layout."""
    with open_log(path, newline="\n") as stream:
        yield from _lines(path, stream) if one_a_line(path, head) else _values(stream)


def one_a_line(path: Path, head: str) -> bool:
    """Whether the file's lines are values of their own."""
    lines = [line for line in head.split("\n") if line.strip()][:20]
    alone = sum(_alone(path, line) for line in lines)
    if lines[0].lstrip().startswith("["):
        # A list a line, or one array of which each line holds a part: there only the last part has no comma behind it.
        return alone > 1
    return alone > 0 or len(lines) == 1


def _alone(path: Path, line: str) -> bool:
    try:
        return line.startswith(("{", "[")) and bool(parse_json(path, 0, line))
    except DataError:
        return False


def _lines(path: Path, stream: TextIO) -> Iterator[Entry]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        if SURROGATE.search(line):
            yield Entry(number, wrong="not UTF-8")
            continue
        try:
            yield Entry(number, parse_json(path, number, line))
        except DataError as error:
            yield Entry(number, wrong=error.reason.split(":")[0])


class _BrokenError(Exception):
    """JSON behind which no further value can be found."""


def _values(stream: TextIO) -> Iterator[Entry]:
    window = _Window(stream)
    try:
        while char := window.peek():
            if char == "[":
                yield from _items(window)
            else:
                yield window.entry()
    except _BrokenError as error:
        yield Entry(window.line, wrong=f"{error}: the rest of the file was not read")


def _items(window: _Window) -> Iterator[Entry]:
    """Elements of one array; an array of messages is one value."""
    start, messages, broken = window.line, [], None
    window.skip()
    try:
        while (char := window.peek()) != "]":
            if not char:
                raise _BrokenError("the file ends inside an array")
            if char == ",":
                window.skip()
                continue
            entry = window.entry()
            if _is_message(entry.value):
                messages.append(entry.value)
            else:
                yield entry
        window.skip()
    except _BrokenError as error:
        broken = error
    if messages:
        yield Entry(start, messages)
    if broken is not None:
        raise broken


def _is_message(value: object) -> bool:
    """A message has a speaker and no list of messages; a chat has such a list."""
    return isinstance(value, dict) and (
        ("role" in value and "messages" not in value)
        or ("from" in value and "value" in value)
        or ("type" in value and ("data" in value or "content" in value))
        or value.get("lc") == 1
    )


class _Window:
    """The part of a stream around the value that is read next; `line` is the line it starts on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._text, self._at, self.line = stream, "", 0, 1
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            rest = len(self._text) - len(self._text[self._at :].lstrip(" \t\r\n\ufeff"))
            self.skip(rest - self._at)
            if self._at < len(self._text) or not self._more(CHUNK):
                return self._text[self._at : self._at + 1]

    def skip(self, count: int = 1) -> None:
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def entry(self) -> Entry:
        """The value that starts here.

        Raises:
            _BrokenError: there is none, or it never ends.
        """
        line, size = self.line, CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the window's edge, or wrong? Only a string can be cut far before the edge.
                cut = error.msg.startswith("Unterminated") or not self._text[error.pos + 16 :].strip()
                if cut and self._more(size):
                    size *= 2
                    continue
                raise _BrokenError("not JSON") from None
            except (ValueError, RecursionError):
                raise _BrokenError("not JSON") from None
            whole = _whole(value, self._text[self._at : end])
            self.skip(end - self._at)
            return Entry(line, value) if whole else Entry(line, wrong=HALF)

    def _more(self, size: int) -> bool:
        more = self._stream.read(size)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _whole(value: object, text: str) -> bool:
    """Whether the value can be written as UTF-8."""
    if not SURROGATE.search(text) and "\\ud" not in text.lower():
        return True
    return not SURROGATE.search(json.dumps(value, ensure_ascii=False))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
