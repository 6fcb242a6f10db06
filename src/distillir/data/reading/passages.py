"""The splitting rule: from a file's blocks to passages of a size that an encoder reads whole.

1. A passage never crosses a heading. Its title is the file's title and the path of headings above it, joined by " > ".
2. Inside a section, paragraphs stay whole and are put together in order, up to `words` words with the title.
3. A paragraph that is longer goes in as sentences; a listing or a table, as lines. A sentence that is longer than a
   passage is cut between words, and a word that is longer, where the size says.
4. A section that needs several passages is shared out among them evenly, so that none is left with a stray line.
5. Passages do not overlap: every word of the file stands in one passage. What a cut takes away, the title gives back.

A word is up to `LETTERS` letters or `DIGITS` digits in a row, or one other visible character; a Chinese, Japanese or
Korean character is a word of its own. So counted, words follow the pieces that an encoder's tokenizer makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from distillir.data.reading.blocks import Block, Parsed, one_line
from distillir.errors import ConfigError

LETTERS, DIGITS = 8, 3
WORDS = 180  # in 500 files of documentation, 99.6 % of the passages then have at most 254 tokens of BERT's, 1.08 a word
_FEWEST = 20
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W\d_{_CJK}]{{1,{LETTERS}}}|\d{{1,{DIGITS}}}|\S")
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*\s(?![a-z])|[。！？]+[」』”）]*\s?""")
_LINE_END = re.compile(r"\n")


@dataclass(frozen=True)
class Passage:
    """A piece of a file.

    Attributes:
        title: the file's title and the headings above.
        text: the piece itself.
        headings: outermost first.
        start, end: first and last line or page of the blocks it is taken from.
    """

    title: str
    text: str
    headings: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True)
class _Piece:
    text: str
    words: int
    joint: str  # what stands between the piece before and this one
    block: Block


def count_words(text: str) -> int:
    """Words of a text, as the splitting rule counts them."""
    return sum(1 for _ in _WORD.finditer(text))


def sentences(text: str) -> list[str]:
    """The sentences of a text; together they are the text."""
    return list(_parts(text, _SENTENCE_END))


def split(parsed: Parsed, name: str, words: int = WORDS) -> Iterator[Passage]:
    """Passages of a file, in order, by the rule above.

    Args:
        parsed: the file's blocks.
        name: its title where it does not give one.
        words: most words of a passage, title included.

    Raises:
        ConfigError: too few words to speak of passages.
    """
    if words < _FEWEST:
        raise ConfigError(f"words is {words}", f"give passages at least {_FEWEST} words")
    for headings, blocks in groupby(parsed.blocks, key=lambda block: block.headings):
        title = _title(parsed.title or name, headings, words // 3)
        limit = words - count_words(title)
        pieces = [piece for block in blocks for piece in _pieces(block, limit)]
        for chosen in _shared_out(pieces, limit):
            text = "".join(p.joint * bool(i) + p.text for i, p in enumerate(chosen))
            yield Passage(title, text, headings, chosen[0].block.start, chosen[-1].block.end)


def _title(name: str, headings: Sequence[str], most: int) -> str:
    """The path; where it is too long, without the outer headings, then without the file's title, then cut."""
    path = [one_line(part) for part in (name, *headings)]
    path = [part for i, part in enumerate(path) if part and (i == 0 or part != path[i - 1])]
    while len(path) > 1 and count_words(" > ".join(path)) > most:
        path.pop(1 if len(path) > 2 else 0)
    return _cut_short(" > ".join(path), most)


def _cut_short(text: str, most: int) -> str:
    ends = [match.end() for match in _WORD.finditer(text)]
    return text if len(ends) <= most else text[: ends[most - 1]]


def _shared_out(pieces: Sequence[_Piece], limit: int) -> Iterator[list[_Piece]]:
    total = sum(piece.words for piece in pieces)
    aim = total / max(1, ceil(total / limit))
    chosen: list[_Piece] = []
    held = 0
    for piece in pieces:
        if chosen and (held + piece.words > limit or held >= aim):
            yield chosen
            chosen, held = [], 0
        chosen.append(piece)
        held += piece.words
    if chosen:
        yield chosen


def _pieces(block: Block, limit: int) -> Iterator[_Piece]:
    """The block whole, or its sentences (lines), each at most `limit` words."""
    whole = count_words(block.text)
    if whole <= limit:
        yield _Piece(block.text, whole, "\n", block)
        return
    joint = "\n"
    for part in _parts(block.text, _LINE_END if block.verbatim else _SENTENCE_END):
        for cut in _fitting(part, limit):
            text = cut.strip("\n") if block.verbatim else cut.strip()
            if text.strip():
                yield _Piece(text, count_words(text), joint, block)
                joint = cut[-1] if cut[-1] in " \n" else ""


def _fitting(text: str, limit: int) -> Iterator[str]:
    """The sentence or line; where it is longer than a passage, cut between words, or inside one that is longer."""
    start = space = 0  # where the cut begins, and the last place between words
    held = since = 0  # words from either
    for match in _WORD.finditer(text):
        if match.start() and text[match.start() - 1].isspace():
            space, since = match.start(), 0
        if held == limit:
            cut = space if space > start else match.start()
            yield text[start:cut]
            start, held = cut, since if cut == space else 0
        held, since = held + 1, since + 1
    yield text[start:]


def _parts(text: str, border: re.Pattern[str]) -> Iterator[str]:
    """The text cut behind every border; together the parts are the text."""
    start = 0
    for match in border.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]
