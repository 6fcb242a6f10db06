"""Natural Questions and TriviaQA in the form of DPR (Karpukhin et al., EMNLP 2020, arXiv 2004.04906).

psgs_w100.tsv of id, text, title; biencoder-{nq,trivia}-{train,dev}.json, arrays of {question, answers, positive_ctxs:
[{passage_id, or psg_id, …}]}; {nq,trivia}-test.qa.csv of question<TAB>['answer', …].

The test questions have no gold passages: a passage answers when it holds one of the answers (`answers.test.jsonl`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from distillir.conversation import Conversation
from distillir.data.conversations import Context
from distillir.data.official.arrays import read_json_array
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, answers, contexts, documents
from distillir.data.official.tables import read_table
from distillir.data.official.topiocqa import segments
from distillir.errors import DataError

PASSAGE_FIELDS = ("passage_id", "psg_id")  # of Natural Questions, of TriviaQA


def parts(found: Found, folder: Path) -> list[Part]:
    train, dev, test = found["train"], found["dev"], found["test"]
    return [
        documents("corpus.jsonl", found["passages"], lambda: segments(found["passages"][0])),
        contexts("train.jsonl", train, lambda: questions(train[0], "train")),
        contexts("dev.jsonl", dev, lambda: questions(dev[0], "dev")),
        contexts("test.jsonl", test, lambda: (context for context, _ in asked(test[0]))),
        answers("answers.test.jsonl", test, lambda: ((context.id, said) for context, said in asked(test[0]))),
    ]


def questions(path: Path, split: str) -> Iterator[Context]:
    """Questions with their positive passages; one without any is not in the release."""
    for i, row in enumerate(read_json_array(path)):
        name, positives = f"{split}-{i}", {}
        for one in row.rows("positive_ctxs"):
            known = [str(one.values[field]) for field in PASSAGE_FIELDS if field in one.values]
            if not known:
                row.refuse(f"a positive passage without {' or '.join(PASSAGE_FIELDS)}")
            positives[known[0]] = 1
        asked = Conversation.from_pairs([], row.text("question"), id=name)
        yield Context(name, asked, relevant=positives, source="dpr")


def asked(path: Path) -> Iterator[tuple[Context, list[str]]]:
    """Test questions and their answers."""
    for i, (line, (question, written)) in enumerate(read_table(path, ("question", "answers"), quoted=True)):
        try:
            said = ast.literal_eval(written)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            said = None
        if not isinstance(said, list) or not said or not all(isinstance(one, str) for one in said):
            raise DataError(path, "the second column is no list of answers", line=line, cure="correct that line")
        name = f"test-{i}"
        yield Context(name, Conversation.from_pairs([], question, id=name), source="dpr"), said


def _sources(short: str) -> tuple[Source, ...]:
    def places(name: str, *downloaded: str) -> tuple[str, ...]:
        """Where a file lies: as it is published, and as the owners' script saves it."""
        return (name, f"*/{name}", *downloaded)

    return (
        Source(
            "passages",
            places("psgs_w100.tsv", "data/wikipedia_split/psgs_w100.tsv"),
            "21 million passages",
            corpus=True,
        ),
        *(
            Source(
                split,
                places(f"biencoder-{short}-{split}.json", f"data/retriever/{short}-{split}.json"),
                "questions with passages",
            )
            for split in ("train", "dev")
        ),
        Source(
            "test", places(f"{short}-test.qa.csv", f"data/retriever/qas/{short}-test.csv"), "questions with answers"
        ),
    )


PASSAGES = 21_015_324
OFFERED = "https://github.com/facebookresearch/DPR (dpr/data/download_data.py)"
NQ = DataSet(
    "nq",
    "Natural Questions as DPR has them, over 21 million passages of Wikipedia",
    ("dgr",),
    "CC BY-SA 3.0 (questions), CC BY-NC 4.0 (DPR)",
    OFFERED,
    _sources("nq"),
    parts,
    (
        Count(("corpus.jsonl",), PASSAGES),
        Count(("train.jsonl",), 58_880),
        Count(("dev.jsonl",), 6_515),
        Count(("test.jsonl",), 3_610),
    ),
)
TRIVIAQA = DataSet(
    "triviaqa",
    "TriviaQA as DPR has it, over 21 million passages of Wikipedia",
    ("dgr",),
    "Apache-2.0 (questions), CC BY-NC 4.0 (DPR)",
    OFFERED,
    _sources("trivia"),
    parts,
    (
        Count(("corpus.jsonl",), PASSAGES),
        Count(("train.jsonl",), 60_413),
        Count(("dev.jsonl",), 6_760),
        Count(("test.jsonl",), 11_313),
    ),
)
