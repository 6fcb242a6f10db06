"""Markdown to blocks, through markdown-it-py: CommonMark with tables and front matter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from distillir.data.reading.blocks import Block, Headings, Parsed, one_line
from distillir.data.reading.html import text_of_fragment

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT = re.compile(r"---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"""^title[ \t]*:[ \t]*(["']?)(.+?)\1[ \t]*$""", re.MULTILINE | re.IGNORECASE)
_PLACED = frozenset(["paragraph_open", "fence", "code_block", "html_block", "table_open"])  # rows stand in a table


def parse_markdown(text: str) -> Parsed:
    """Blocks of a Markdown file; its title is the front matter's, or the first heading of level 1."""
    from markdown_it import MarkdownIt

    front = _FRONT.match(text)
    skipped = front[0].count("\n") if front else 0
    tokens = MarkdownIt("commonmark").enable("table").parse(text[front.end() :] if front else text)
    named = _TITLE.search(front[1] or "") if front else None
    return Parsed(one_line(named[2] if named else _first_title(tokens)), list(_blocks(tokens, skipped)))


def _first_title(tokens: Sequence[Token]) -> str:
    heading = next((i for i, t in enumerate(tokens) if t.type == "heading_open" and t.tag == "h1"), None)
    return "" if heading is None else _text(tokens[heading + 1])


def _blocks(tokens: Sequence[Token], skipped: int) -> Iterator[Block]:
    headings = Headings()
    marks: list[str] = []  # of the list items we are in, taken by the first paragraph of each
    row: list[str] = []
    table: list[str] = []
    place = [0, 1]  # first line and the line after the last, from 0
    for i, token in enumerate(tokens):
        text, verbatim = "", False
        if token.map and token.type in _PLACED:
            place = token.map
        if token.type == "heading_open":
            headings.enter(int(token.tag[1:]), _text(tokens[i + 1]))
        elif token.type == "list_item_open":
            marks.append(f"{token.info}{token.markup} " if token.info else "- ")
        elif token.type == "list_item_close":
            marks.pop()
        elif token.type == "paragraph_open":
            text = _text(tokens[i + 1])
            if text.strip() and marks:
                text, marks[-1] = marks[-1] + text, ""
        elif token.type in ("fence", "code_block"):
            text, verbatim = token.content.strip("\n"), True
        elif token.type == "html_block":
            text = text_of_fragment(token.content)
        elif token.type in ("td_open", "th_open"):
            row.append(one_line(_text(tokens[i + 1])))
        elif token.type == "tr_close":
            table.append(" | ".join(row))
            row = []
        elif token.type == "table_close":
            text, verbatim, table = "\n".join(table), True, []
        if text.strip():
            first, last = place[0] + skipped + 1, max(place[0] + 1, place[1]) + skipped
            yield Block(text if verbatim else one_line(text), first, last, headings.path, verbatim)


def _text(inline: Token) -> str:
    """What an inline token shows: no marks, no link targets, pictures as their description."""
    parts = []
    for child in inline.children or []:
        if child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type != "html_inline":
            parts.append(child.content)
    return "".join(parts)
