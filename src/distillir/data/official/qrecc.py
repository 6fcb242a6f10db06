"""QReCC in the release of its shared task SCAI-QReCC-21 (Anantha et al., NAACL 2021, arXiv 2010.04898).

scai-qrecc21-{training,test}-turns.json are arrays of {Conversation_no, Turn_no, Context = [question, answer, …],
Question, Truth_rewrite, Truth_passages = [id, …], Conversation_source}; passages.zip holds folders commoncrawl,
wayback and wayback-backfill of JSON lines {id, contents}.

The first question of a conversation was cut out of a longer one, so papers put its rewrite in its place; so does
this. One training conversation of fifty is kept for choosing a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from distillir.data.canard import rewritten
from distillir.data.conversations import Context
from distillir.data.official.arrays import read_json_array
from distillir.data.official.dataset import (
    Count,
    DataSet,
    Found,
    Part,
    Source,
    contexts,
    documents,
    held_out,
    judgements,
)
from distillir.data.official.tables import judged_by, passages
from distillir.data.official.topiocqa import number
from distillir.data.rows import Row

FOLDERS = ("commoncrawl", "wayback", "wayback-backfill")


def parts(found: Found, folder: Path) -> list[Part]:
    train, test = found["train"], found["test"]
    texts = tuple(path for name in FOLDERS for path in found[name])
    return [
        documents("corpus.jsonl", texts, lambda: passages(texts)),
        contexts("train.jsonl", train, lambda: turns(train[0], "train", dev=False)),
        contexts("dev.jsonl", train, lambda: turns(train[0], "train", dev=True)),
        contexts("test.jsonl", test, lambda: turns(test[0], "test")),
        judgements("qrels.test.tsv", test, lambda: judged_by(turns(test[0], "test"))),
    ]


def turns(path: Path, split: str, dev: bool | None = None) -> Iterator[Context]:
    """Turns of a split; `dev` keeps those held out, or the others. Conversations of both splits are numbered from 1."""
    for context in rewritten(_rows(path, split, dev), source="qrecc", mark="_", gold=True, every=True):
        yield replace(context, domain="")


def _rows(path: Path, split: str, dev: bool | None) -> Iterator[Row]:
    first: dict[int, str] = {}
    for row in read_json_array(path):
        conversation, turn = number(row, "Conversation_no"), number(row, "Turn_no")
        if dev is not None and held_out(conversation) != dev:
            continue
        question, history, rewrite = row.text("Question"), row.texts("Context"), row.text("Truth_rewrite")
        if turn == 1 and rewrite.strip():
            first[conversation] = question = rewrite
        elif history and conversation in first:
            history[0] = first[conversation]
        values = {
            "_id": f"{split}{conversation}_{turn}",
            "history": history,
            "question": question,
            "rewrite": rewrite,
            "passage_ids": row.texts("Truth_passages"),
        }
        yield Row(path, row.line, values)


SET = DataSet(
    "qrecc",
    "questions of web, QuAC and CAsT conversations with human rewrites, over 10 million web pages",
    ("disco",),
    "CC BY-SA 3.0",
    "https://github.com/scai-conf/SCAI-QReCC-21 (https://zenodo.org/records/5543685 and 5115890)",
    (
        Source("train", ("scai-qrecc21-training-turns.json", "*/scai-qrecc21-training-turns.json"), "turns"),
        Source("test", ("scai-qrecc21-test-turns.json", "*/scai-qrecc21-test-turns.json"), "turns"),
        *(
            Source(
                name,
                tuple(f"{above}{name}/*" for above in ("", "passages/", "collection-paragraph/")),
                "passages",
                corpus=True,
            )
            for name in FOLDERS
        ),
    ),
    parts,
    (
        Count(("corpus.jsonl",), 54_573_064),
        Count(("train.jsonl", "dev.jsonl"), 63_501),
        Count(("test.jsonl",), 16_451),
    ),
)
