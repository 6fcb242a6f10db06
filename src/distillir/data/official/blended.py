"""Blended Skill Talk as ParlAI publishes it (Smith et al., ACL 2020, arXiv 2004.08449).

{train,valid,test}.json are arrays of {personas, context_dataset, additional_context, free_turker_utterance,
guided_turker_utterance, dialog: [[speaker, text], …]}. What is answered are the guided speaker's turns, as in ParlAI;
the first message has the guided speaker's persona and the topic in front, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.data.chitchat import answered_at
from distillir.data.conversations import Context
from distillir.data.official.arrays import read_json_array
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, judgements, responses
from distillir.data.official.tables import judged_by
from distillir.data.responses import Response, ResponseSet
from distillir.data.rows import Row

SPLITS = {"train": "train", "dev": "valid", "test": "test"}
GUIDED = 1
TOPIC = "wizard_of_wikipedia"  # the set whose additional context is a topic that both know


def parts(found: Found, folder: Path) -> list[Part]:
    every = tuple(path for name in SPLITS for path in found[name])
    return [
        responses("responses.jsonl", every, lambda: ResponseSet(said(every))),
        *(contexts(f"{name}.jsonl", found[name], partial(talks, found[name][0], name)) for name in SPLITS),
        judgements("qrels.test.tsv", found["test"], lambda: judged_by(talks(found["test"][0], "test"))),
    ]


def talks(path: Path, split: str) -> Iterator[Context]:
    """A context for each turn of the guided speaker."""
    for name, turns in _turns(path, split):
        for i in _guided(turns):
            yield answered_at(turns, i, name, "blended_skill_talk")


def said(paths: tuple[Path, ...]) -> Iterator[Response]:
    """Everything that the guided speaker answered."""
    for path in paths:
        for _, turns in _turns(path, ""):
            for i in _guided(turns):
                yield Response.of(turns[i][1])


def _guided(turns: list[tuple[int, str]]) -> Iterator[int]:
    return (i for i in range(2, len(turns)) if turns[i][0] == GUIDED and turns[i][1].strip())


def _turns(path: Path, split: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    for i, row in enumerate(read_json_array(path)):
        first = "\n".join([*_known(row), row.text("free_turker_utterance")])
        turns = [(1 - GUIDED, first), (GUIDED, row.text("guided_turker_utterance"))]
        for turn in row.get("dialog", list, "a list of [speaker, text]"):
            if not (isinstance(turn, list) and len(turn) == 2 and turn[0] in (0, 1) and isinstance(turn[1], str)):
                row.refuse(f"a turn of the dialog is {turn!r}, not [speaker, text]")
            turns.append((int(turn[0]), turn[1]))
        yield f"{split}-{i}", turns


def _known(row: Row) -> list[str]:
    """What the guided speaker knows before the talk."""
    personas = row.get("personas", list, "two lists of sentences")
    if len(personas) != 2 or not all(isinstance(one, list) for one in personas):
        row.refuse("field 'personas' is not two lists of sentences")
    known = [f"your persona: {sentence}" for sentence in personas[GUIDED]]
    return [*known, row.text("additional_context")] if row.values.get("context_dataset") == TOPIC else known


SET = DataSet(
    "blended_skill_talk",
    "talks that blend persona, knowledge and empathy, for responses",
    ("g2r",),
    "CC BY 4.0 (ParlAI; older copies say CC BY-NC)",
    "https://parl.ai (task blended_skill_talk)",
    tuple(
        Source(name, tuple(f"{above}{file}.json" for above in ("", "blended_skill_talk/")), "talks")
        for name, file in SPLITS.items()
    ),
    parts,
    (
        Count(("train.jsonl",), groups=4_819),
        Count(("dev.jsonl",), groups=1_009),
        Count(("test.jsonl",), groups=980),
    ),
)
