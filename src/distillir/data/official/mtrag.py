"""MTRAG as IBM publishes it (Katsis et al., TACL 2025, doi 10.1162/TACL.a.19).

In mtrag-human/ (formerly human/): retrieval_tasks/DOMAIN/DOMAIN_rewrite.jsonl of {_id = CONVERSATION<::>TURN, text},
retrieval_tasks/DOMAIN/qrels/dev.tsv, and generation_tasks/reference.jsonl of {task_id, input: [{speaker, text}]},
which has the conversations up to each turn. In corpora/passage_level/: DOMAIN.jsonl of {_id, title, text}, to be
unpacked first.

Files and retrieval tasks were read in copies of the repository; the rows of reference.jsonl were not verified. The
release has no splits: all of it is to test on. Each domain has a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.conversation import Conversation, Turn
from distillir.data.conversations import HUMAN, Context
from distillir.data.documents import Document, read_documents
from distillir.data.mtrag import DOMAINS
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, documents, judgements
from distillir.data.qrels import read_qrels
from distillir.data.queries import read_queries
from distillir.data.rows import Row, read_json_rows
from distillir.errors import ConversationError, DataError

ROLES = {"user": "user", "agent": "assistant"}
ASKED = "|user|: "
SIZES = {"clapnq": (183_408, 208), "cloud": (61_022, 188), "fiqa": (49_607, 180), "govt": (72_422, 201)}
"""Domain → passages, turns that need retrieval."""


def parts(found: Found, folder: Path) -> list[Part]:
    made = []
    for domain in DOMAINS:
        texts, qrels = found[domain], found[f"{domain}_qrels"]
        sources = found["tasks"] + found[f"{domain}_rewrites"] + qrels
        if texts:
            made.append(documents(f"{domain}/corpus.jsonl", texts, partial(passages, texts[0])))
        made.append(
            contexts(f"{domain}/test.jsonl", sources, partial(turns, sources[0], sources[1], sources[2], domain))
        )
        made.append(judgements(f"{domain}/qrels.test.tsv", qrels, partial(read_qrels, qrels[0], "tsv")))
    return made


def turns(tasks: Path, rewrites: Path, judged: Path, domain: str) -> Iterator[Context]:
    """Turns of a domain that need retrieval, with their human rewrite."""
    written = {one.id: one.conversation.question.removeprefix(ASKED) for one in read_queries(rewrites)}
    qrels = read_qrels(judged, "tsv")
    for row in read_json_rows(tasks):
        name = row.filled("task_id")
        rewrite = written.pop(name, None)
        if rewrite is None:
            continue
        group = name.partition("<::>")[0]
        relevant = {document: grade for document, grade in qrels.get(name, {}).items() if grade > 0}
        yield Context(name, _conversation(row, name), group, {HUMAN: rewrite}, relevant, "mtrag", domain)
    if written:
        raise DataError(
            rewrites,
            f"{len(written)} rewrites belong to no task, {next(iter(written))!r} the first",
            cure="fetch both again",
        )


def passages(path: Path) -> Iterator[Document]:
    """Passages, without their addresses."""
    for _, document in read_documents(path):
        yield Document(document.id, document.text, document.title)


def _conversation(row: Row, name: str) -> Conversation:
    said = []
    for turn in row.rows("input"):
        speaker = turn.text("speaker")
        if speaker not in ROLES:
            row.refuse(f"unknown speaker {speaker!r}", f"use {' or '.join(ROLES)}")
        said.append(Turn(ROLES[speaker], turn.text("text")))
    try:
        return Conversation(tuple(said), name)
    except ConversationError as error:
        row.refuse(error.cause, error.cure)


ABOVE = ("mtrag-human/", "human/", "")


def _domain(name: str) -> Iterator[Source]:
    inside = f"retrieval_tasks/{name}"
    yield Source(f"{name}_rewrites", tuple(f"{one}{inside}/{name}_rewrite.jsonl" for one in ABOVE), "rewrites")
    yield Source(f"{name}_qrels", tuple(f"{one}{inside}/qrels/dev.tsv" for one in ABOVE), "judgements")
    places = tuple(f"{folder}{name}.jsonl" for folder in ("corpora/passage_level/", "corpora/", "passage_level/", ""))
    yield Source(name, places, "passages, unpacked", corpus=True)


SET = DataSet(
    "mtrag",
    "human conversations over four collections; all of it to test on",
    ("disco",),
    "Apache-2.0",
    "https://github.com/IBM/mt-rag-benchmark",
    (
        Source("tasks", tuple(f"{one}generation_tasks/reference.jsonl" for one in ABOVE), "conversations"),
        *(source for name in DOMAINS for source in _domain(name)),
    ),
    parts,
    tuple(
        count
        for name, (size, asked) in SIZES.items()
        for count in (Count((f"{name}/corpus.jsonl",), size), Count((f"{name}/test.jsonl",), asked))
    ),
    "the rows of generation_tasks/reference.jsonl; the other files are verified",
)
