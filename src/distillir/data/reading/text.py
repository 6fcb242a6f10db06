"""Bytes to text, and plain text and reStructuredText to blocks.

Paragraphs are what blank lines separate. A line above a row of one punctuation character, at least as long as the line,
is a heading, with or without such a row above it; its level is the order in which its kind of row first came up, as
reStructuredText has it. Its literal blocks, sessions of Python and what is drawn in columns keep their lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from textwrap import dedent

from distillir.data.reading.blocks import Block, Headings, Parsed, UnreadableError, one_line

_ROW = re.compile(r"([!-/:-@[-`{-~])\1{2,}\s*")
_COLUMNS = re.compile(r"\S {3,}\S|\t|[|+]\s*$")
_TARGET = re.compile(r"\.\. _[^:]*:\s*")
_LITERAL = re.compile(r"(?!\.\. ).*::$|\.\. (?:code|code-block|sourcecode|parsed-literal)::")
_UNICODE_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes, declared: str | None = None) -> str:
    r"""Text of a file's bytes, lines ended by "\n".

    A byte order mark decides, then what the file declares of itself, then UTF-8. Other encodings are not guessed.

    Raises:
        UnreadableError: binary, not of the encoding, or nothing but white space.
    """
    mark = next(((mark, name) for mark, name in _UNICODE_MARKS if data.startswith(mark)), None)
    if mark is None and b"\0" in data:
        raise UnreadableError("a binary file, not text")
    encoding = mark[1] if mark else declared or "utf-8"
    try:
        text = data[len(mark[0]) if mark else 0 :].decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not {encoding.upper()}", f"byte {error.start}") from None
    if "\0" in text:
        raise UnreadableError("a binary file, not text")
    if not text.strip():
        raise UnreadableError("the file is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_text(text: str) -> Parsed:
    """Blocks of plain text or reStructuredText; the title is the first heading where nothing stands before it."""
    blocks = list(_blocks(text.split("\n")))
    title = blocks[0].headings[0] if blocks and blocks[0].headings else ""
    return Parsed(title, blocks)


def _blocks(lines: list[str]) -> Iterator[Block]:
    headings, levels = Headings(), list[str]()
    paragraph: list[str] = []
    number, literal = 0, False
    while number < len(lines):
        found = _heading(lines, number)
        if found or not lines[number].strip():
            literal = literal and _indented(paragraph)
            yield from _paragraph(paragraph, number, headings.path, literal)
            literal = literal or bool(paragraph and _LITERAL.match(paragraph[-1].strip()))
            paragraph = []
        if found:
            kind, text, taken = found
            if kind not in levels:
                levels.append(kind)
            headings.enter(levels.index(kind), text)
            number += taken
        else:
            if lines[number].strip():
                paragraph.append(lines[number])
            number += 1
    yield from _paragraph(paragraph, number, headings.path, literal and _indented(paragraph))


def _indented(lines: list[str]) -> bool:
    """Also of a paragraph without lines: blank ones end nothing."""
    return all(line[0].isspace() for line in lines)


def _heading(lines: list[str], at: int) -> tuple[str, str, int] | None:
    """(kind of row, text, lines taken) where a heading begins."""

    def row(number: int) -> str:
        line = lines[number] if number < len(lines) else ""
        return line.rstrip() if _ROW.fullmatch(line) else ""

    over = row(at)
    first = at + bool(over)
    under, text = row(first + 1), lines[first].rstrip() if first < len(lines) else ""
    if not under or not any(map(str.isalnum, text)) or len(under) < len(text.strip()):
        return None
    if over and over != under:
        return None
    if not over and text[0].isspace():  # an indented line is no title
        return None
    return ("over" if over else "") + under[0], text, 2 + bool(over)


def _paragraph(lines: list[str], end: int, headings: tuple[str, ...], literal: bool) -> Iterator[Block]:
    """The block of lines that end before line `end`, counted from 0; rows of punctuation and link targets are none."""
    if not lines or all(_ROW.fullmatch(line) or _TARGET.fullmatch(line) for line in lines):
        return
    drawn = sum(bool(_COLUMNS.search(line.strip())) for line in lines) * 2 > len(lines)
    verbatim = literal or drawn or lines[0].lstrip().startswith(">>> ")
    text = dedent("\n".join(line.rstrip() for line in lines)) if verbatim else one_line(" ".join(lines))
    yield Block(text, end - len(lines) + 1, end, headings, verbatim)
