"""CANARD in its own release (Elgohary et al., EMNLP 2019, doi 10.18653/v1/D19-1605).

{train,dev,test}.json are arrays of {QuAC_dialog_id, Question_no, History = [article, section, question, answer, …],
Question, Rewrite}. No corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.data.canard import rewritten
from distillir.data.conversations import Context
from distillir.data.official.arrays import read_json_array
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts
from distillir.data.official.topiocqa import number
from distillir.data.rows import Row

SPLITS = ("train", "dev", "test")
HEADINGS = 2  # article and section, which nobody said


def parts(found: Found, folder: Path) -> list[Part]:
    return [contexts(f"{name}.jsonl", found[name], partial(turns, found[name][0])) for name in SPLITS]


def turns(path: Path) -> Iterator[Context]:
    """Questions with their history and rewrite; group = the dialogue."""
    return rewritten(_rows(path), source="canard", mark="#", every=True)


def _rows(path: Path) -> Iterator[Row]:
    for row in read_json_array(path):
        history = row.texts("History")
        if len(history) < HEADINGS:
            row.refuse("the history lacks article and section")
        values = {
            "_id": f"{row.filled('QuAC_dialog_id')}#{number(row, 'Question_no')}",
            "history": history[HEADINGS:],
            "question": row.text("Question"),
            "rewrite": row.text("Rewrite"),
        }
        yield Row(path, row.line, values)


SET = DataSet(
    "canard",
    "QuAC's questions rewritten by people; no corpus",
    ("disco",),
    "CC BY-SA 4.0",
    "https://sites.google.com/view/qanta/projects/canard",
    tuple(Source(name, (f"{name}.json", f"CANARD_Release/{name}.json"), "questions") for name in SPLITS),
    parts,
    (
        Count(("train.jsonl",), 31_526, 4_383),
        Count(("dev.jsonl",), 3_430, 490),
        Count(("test.jsonl",), 5_571, 771),
    ),
)
