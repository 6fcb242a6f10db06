"""OR-QuAC: QuAC's conversations over all of Wikipedia (Qu et al., SIGIR 2020, arXiv 2005.11364).

preprocessed/{train,dev,test}.txt are JSON lines {qid = DIALOGUE_q#TURN, question, rewrite, history: [{question, answer:
{text}}]}, all_blocks.txt JSON lines {id, title, text}, qrels.txt one object qid → passage → 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.data.canard import rewritten
from distillir.data.conversations import Context
from distillir.data.documents import Document, read_documents
from distillir.data.official.arrays import read_json_object
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, documents, judgements
from distillir.data.official.tables import judged_by
from distillir.data.rows import Row, read_json_rows
from distillir.errors import DataError

SPLITS = ("train", "dev", "test")


def parts(found: Found, folder: Path) -> list[Part]:
    test = found["test"] + found["qrels"]
    return [
        documents("corpus.jsonl", found["passages"], lambda: blocks(found["passages"][0])),
        *(
            contexts(f"{name}.jsonl", found[name] + found["qrels"], partial(turns, found[name][0], found["qrels"][0]))
            for name in SPLITS
        ),
        judgements("qrels.test.tsv", test, lambda: judged_by(turns(test[0], test[1]))),
    ]


def turns(path: Path, qrels: Path) -> Iterator[Context]:
    """Questions with history, rewrite and gold passage."""
    judged = read_json_object(qrels)
    if not all(isinstance(one, dict) for one in judged.values()):
        raise DataError(qrels, "not an object question → passage → grade", cure="fetch the file again")
    return rewritten(_rows(path, judged), source="orquac", mark="_q#", gold=True, every=True)


def blocks(path: Path) -> Iterator[Document]:
    """Passages, without the numbers of article and block."""
    for _, document in read_documents(path):
        yield Document(document.id, document.text, document.title)


def _rows(path: Path, judged: dict[str, dict[str, int]]) -> Iterator[Row]:
    for row in read_json_rows(path):
        name = row.filled("qid")
        history = []
        for before in row.rows("history"):
            answer = Row(path, row.line, before.get("answer", dict, "an object"))
            history += [before.text("question"), answer.text("text")]
        values = {
            "_id": name,
            "history": history,
            "question": row.text("question"),
            "rewrite": row.text("rewrite"),
            "passage_ids": [document for document, grade in judged.get(name, {}).items() if grade],
        }
        yield Row(path, row.line, values)


SET = DataSet(
    "orquac",
    "QuAC's conversations with human rewrites, over 11 million passages of Wikipedia",
    ("disco",),
    "CC BY-SA 4.0",
    "https://ciir.cs.umass.edu/downloads/ORConvQA/",
    (
        *(Source(name, (f"preprocessed/{name}.txt", f"{name}.txt"), "questions") for name in SPLITS),
        Source("qrels", ("qrels.txt", "preprocessed/qrels.txt"), "gold passages"),
        Source("passages", ("all_blocks.txt", "preprocessed/all_blocks.txt"), "11 million passages", corpus=True),
    ),
    parts,
    (
        Count(("train.jsonl",), 31_526, 4_383),
        Count(("dev.jsonl",), 3_430, 490),
        Count(("test.jsonl",), 5_571, 771),
    ),
)
