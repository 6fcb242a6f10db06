"""What a parser makes of a file: blocks of text under headings, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Unit = Literal["lines", "pages"]


class UnreadableError(Exception):
    """A file that gives no text.

    Args:
        reason: in words that are the same for every such file, so that they can be counted.
        detail: what is particular to this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason} ({detail})" if detail else reason)


@dataclass(frozen=True)
class Block:
    """A paragraph, a list item, a table, a listing, or a page.

    Attributes:
        text: not empty.
        start, end: first and last line (or page) it stands on, from 1.
        headings: the headings above it, outermost first.
        verbatim: whether its lines mean something: a listing, a table.
    """

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    verbatim: bool = False


@dataclass(frozen=True)
class Parsed:
    """A file's text.

    Attributes:
        title: what the file calls itself; "" where it does not.
        blocks: in reading order; may be read only once.
        unit: what blocks are counted in.
    """

    title: str
    blocks: Iterable[Block]
    unit: Unit = "lines"


class Headings:
    """The path of headings at the place a parser has reached."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, text: str) -> None:
        """A heading closes those of its own level and below; an empty one leaves a place without a name."""
        self._open = [(depth, name) for depth, name in self._open if depth < level]
        if text := one_line(text):
            self._open.append((level, text))

    @property
    def path(self) -> tuple[str, ...]:
        """Outermost first."""
        return tuple(name for _, name in self._open)


def one_line(text: str) -> str:
    """Every run of white space as one space, none at the ends."""
    return " ".join(text.split())
