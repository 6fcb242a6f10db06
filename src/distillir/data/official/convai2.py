"""ConvAI2, the second Persona-Chat, in ParlAI's text format (Dinan et al., arXiv 1902.00098).

{train,valid}_self_original*.txt: numbered lines, beginning anew at 1 with each talk: `N your persona: …`, then
`N what was said<TAB>answer[<TAB><TAB>candidate|candidate…]`. The owners keep their test set, so there is none here.

The layout was read in programs that use the files, not in the release itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.data.chitchat import answered_at
from distillir.data.conversations import Context
from distillir.data.files import read_lines
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, responses
from distillir.data.responses import Response, ResponseSet
from distillir.errors import DataError

SPLITS = {"train": "train", "dev": "valid"}
LINE = re.compile(r"(\d+) (.*)", re.ASCII | re.DOTALL)
PERSONA = ("your persona:", "partner's persona:")


def parts(found: Found, folder: Path) -> list[Part]:
    every = tuple(path for name in SPLITS for path in found[name])
    return [
        responses("responses.jsonl", every, lambda: ResponseSet(said(every))),
        *(contexts(f"{name}.jsonl", found[name], partial(talks, found[name][0], name)) for name in SPLITS),
    ]


def talks(path: Path, split: str) -> Iterator[Context]:
    """A context for each answer; the persona stands in front of the first message, as in ParlAI."""
    for name, turns in _turns(path, split):
        for i in range(1, len(turns), 2):
            yield answered_at(turns, i, name, "convai2")


def said(paths: tuple[Path, ...]) -> Iterator[Response]:
    """Every answer."""
    for path in paths:
        for _, turns in _turns(path, ""):
            for _, text in turns[1::2]:
                yield Response.of(text)


def _turns(path: Path, split: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    turns: list[tuple[int, str]] = []
    known: list[str] = []
    talk = before = 0
    for number, line in read_lines(path):
        found = LINE.fullmatch(line)
        if not found or int(found[1]) not in (1, before + 1):
            raise DataError(
                path, f"no line {before + 1} of a talk, nor the first of another", line=number, cure="fetch it again"
            )
        before = int(found[1])
        if before == 1:
            if turns:
                yield f"{split}-{talk}", turns
                talk += 1
            turns, known = [], []
        if found[2].startswith(PERSONA):
            known.append(found[2].strip())
            continue
        asked, tab, rest = found[2].partition("\t")
        answer = rest.split("\t")[0]
        if not tab or not answer.strip():
            raise DataError(path, "what was said has no answer after a tab", line=number, cure="correct that line")
        turns += [(0, "\n".join([*known, asked])), (1, answer)]
        known = []
    if turns:
        yield f"{split}-{talk}", turns


SET = DataSet(
    "convai2",
    "talks of two people with personas, for responses",
    ("g2r",),
    "as ParlAI states it for the task",
    "https://parl.ai (task convai2)",
    tuple(
        Source(
            name,
            tuple(
                f"{above}{file}_{kind}_original{end}.txt"
                for above in ("", "ConvAI2/", "convai2/")
                for kind in ("self", "none")
                for end in ("_no_cands", "")
            ),
            "talks",
        )
        for name, file in SPLITS.items()
    ),
    parts,
    (Count(("train.jsonl",), 131_438, 17_878), Count(("dev.jsonl",), 7_801, 1_000)),
    "the text format, as programs read it",
)
