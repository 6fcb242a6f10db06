"""TopiOCQA: conversations that change the topic (Adlakha et al., TACL 2022, arXiv 2110.00768).

The owners' download script gives topiocqa_{train,dev}.json, arrays of {Conversation_no, Turn_no, Question, Answer,
Context = [question, answer, …]}; retriever/all_history/{train,dev}.json, arrays of {conv_id, turn_id, positive_ctxs:
[{passage_id, …}]}, which name the gold passages; and full_wiki_segments.tsv of id, text, title.

The official development set is the papers' test set. They choose no state on data of its own, so one training
conversation of fifty is kept for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distillir.data.conversations import Context
from distillir.data.documents import Document
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
from distillir.data.official.tables import judged_by, read_table
from distillir.data.rows import Row
from distillir.errors import DataError

Golds = dict[str, dict[str, int]]


def parts(found: Found, folder: Path) -> list[Part]:
    train, dev = found["train"] + found["train_gold"], found["dev"] + found["dev_gold"]
    return [
        documents("corpus.jsonl", found["passages"], lambda: segments(found["passages"][0])),
        contexts("train.jsonl", train, lambda: turns(train[0], train[1], dev=False)),
        contexts("dev.jsonl", train, lambda: turns(train[0], train[1], dev=True)),
        contexts("test.jsonl", dev, lambda: turns(dev[0], dev[1])),
        judgements("qrels.test.tsv", dev, lambda: judged_by(turns(dev[0], dev[1]))),
    ]


def turns(path: Path, gold_path: Path, dev: bool | None = None) -> Iterator[Context]:
    """Turns with their gold passages; `dev` keeps those held out, or the others."""
    relevant = golds(gold_path)
    for row in read_json_array(path):
        conversation = number(row, "Conversation_no")
        name = f"{conversation}_{number(row, 'Turn_no')}"
        if name not in relevant:
            raise DataError(gold_path, f"no turn {name!r}, which {path.name} has", cure="fetch both of one release")
        if dev is None or held_out(conversation) == dev:
            talk = row.conversation(row.texts("Context"), row.text("Question"), name)
            yield Context(name, talk, str(conversation), relevant=relevant[name], source="topiocqa")


def golds(path: Path) -> Golds:
    """Turn → its gold passages."""
    found: Golds = {}
    for row in read_json_array(path):
        name = f"{number(row, 'conv_id')}_{number(row, 'turn_id')}"
        found[name] = {str(one.values.get("passage_id", "")).strip(): 1 for one in row.rows("positive_ctxs")}
        if "" in found[name]:
            row.refuse(f"turn {name}: a gold passage without 'passage_id'")
    return found


def segments(path: Path) -> Iterator[Document]:
    """Passages of a table of id, text, title."""
    for line, (name, text, title) in read_table(path, ("id", "text", "title"), quoted=True):
        if not name.strip():
            raise DataError(path, "a passage without an id", line=line)
        yield Document(name, text, title)


def number(row: Row, field: str) -> int:
    """A whole number, as a number or as a text."""
    value = row.values.get(field)
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return int(row.get(field, int, "a number"))


SET = DataSet(
    "topiocqa",
    "conversations that change the topic, over passages of Wikipedia",
    ("disco", "kld_contrastive"),
    "CC BY-NC-SA 4.0",
    "https://github.com/McGill-NLP/topiocqa (download_data.py)",
    (
        Source("train", ("topiocqa_train.json", "*/topiocqa_train.json", "data/topiocqa_dataset/train.json"), "turns"),
        Source("dev", ("topiocqa_dev.json", "*/topiocqa_dev.json", "data/topiocqa_dataset/dev.json"), "turns"),
        Source(
            "train_gold",
            ("data/retriever/all_history/train.json", "retriever/all_history/train.json", "gold_train.json"),
            "gold passages",
        ),
        Source(
            "dev_gold",
            ("data/retriever/all_history/dev.json", "retriever/all_history/dev.json", "gold_dev.json"),
            "gold passages",
        ),
        Source(
            "passages",
            ("data/wikipedia_split/full_wiki_segments.tsv", "full_wiki_segments.tsv", "*/full_wiki_segments.tsv"),
            "25.7 million passages",
            corpus=True,
        ),
    ),
    parts,
    (
        Count(("corpus.jsonl",), 25_700_592),
        Count(("train.jsonl", "dev.jsonl"), 45_450, 3_509),
        Count(("test.jsonl",), 2_514, 205),
    ),
)
