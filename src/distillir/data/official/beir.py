"""A data set of BEIR (Thakur et al., NeurIPS 2021, arXiv 2104.08663), such as SciFact or TREC-COVID.

corpus.jsonl of {_id, title, text}, queries.jsonl of {_id, text}, and qrels/{train,dev,test}.tsv with a header. The
queries of all splits are in one file, so each that is judged has to be in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.data.conversations import Context
from distillir.data.documents import Document, read_documents
from distillir.data.official.dataset import DataSet, Found, Part, Source, contexts, documents, judgements
from distillir.data.qrels import read_qrels
from distillir.data.queries import read_queries
from distillir.errors import DataError

SPLITS = ("train", "dev", "test")
SIZES = {
    "arguana": 8_674,
    "climate-fever": 5_416_593,
    "dbpedia-entity": 4_635_922,
    "fever": 5_416_568,
    "fiqa": 57_638,
    "hotpotqa": 5_233_329,
    "nfcorpus": 3_633,
    "nq": 2_681_468,
    "quora": 522_931,
    "scidocs": 25_657,
    "scifact": 5_183,
    "trec-covid": 171_332,
    "webis-touche2020": 382_545,
}
"""Folder of a release → its documents."""


def parts(found: Found, folder: Path) -> list[Part]:
    name = folder.resolve().name
    made = [documents("corpus.jsonl", found["corpus"], lambda: corpus(found["corpus"][0], SIZES.get(name)))]
    for split in SPLITS:
        if found[split]:
            sources = found["queries"] + found[split]
            qrels = partial(read_qrels, found[split][0], "tsv")
            made.append(contexts(f"{split}.jsonl", sources, partial(asked, sources[0], sources[1], name), qrels))
            made.append(judgements(f"qrels.{split}.tsv", found[split], qrels))
    return made


def corpus(path: Path, size: int | None) -> Iterator[Document]:
    """Documents; as many as the release has, where that is known."""
    count = 0
    for _, document in read_documents(path):
        count += 1
        yield document
    if size is not None and count != size:
        raise DataError(
            path,
            f"{count:,} documents where the release has {size:,}",
            cure="fetch the file again, or name the folder otherwise if this is a part of it",
        )


def asked(queries: Path, qrels: Path, name: str) -> Iterator[Context]:
    """Queries that are judged; grades above 0 are relevant."""
    judged = read_qrels(qrels, "tsv")
    for context in read_queries(queries):
        if context.id in judged:
            relevant = {document: grade for document, grade in judged[context.id].items() if grade > 0}
            yield Context(context.id, context.conversation, relevant=relevant, source=name)


SET = DataSet(
    "beir",
    "one of BEIR's data sets: the folder of SciFact, TREC-COVID, …",
    ("twolar",),
    "each data set its own",
    "https://github.com/beir-cellar/beir",
    (
        Source("corpus", ("corpus.jsonl",), "documents", corpus=True),
        Source("queries", ("queries.jsonl",), "queries"),
        Source("test", ("qrels/test.tsv",), "judgements"),
        *(Source(split, (f"qrels/{split}.tsv",), "judgements", needed=False) for split in ("train", "dev")),
    ),
    parts,
)
