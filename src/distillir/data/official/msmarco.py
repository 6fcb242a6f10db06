"""MS MARCO passages with the judgements of TREC Deep Learning 2019 and 2020 (arXiv 1611.09268, 2003.07820, 2102.07662).

collection.tsv is pid<TAB>text; queries.{train,dev.small}.tsv and msmarco-test{2019,2020}-queries.tsv are qid<TAB>text;
qrels.{train,dev.small}.tsv and {2019,2020}qrels-pass.txt are TREC judgements, those of the two tracks graded 0 to 3.
Most queries are judged by nobody; each that is judged has to be in its file of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from distillir.data.conversations import Context
from distillir.data.documents import Document
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, documents, judgements
from distillir.data.official.tables import questions, read_table
from distillir.data.qrels import read_qrels

YEARS = ("2019", "2020")


def parts(found: Found, folder: Path) -> list[Part]:
    train, dev = found["train"] + found["train_qrels"], found["dev"] + found["dev_qrels"]
    test = tuple(path for year in YEARS for path in found[year] + found[f"{year}_qrels"])
    made = [documents("corpus.jsonl", found["passages"], lambda: passages(found["passages"][0]))]
    if found["train"] and found["train_qrels"]:
        made.append(contexts("train.jsonl", train, lambda: judged(train[0], train[1], "msmarco"), _ids(train[1])))
    if found["dev"] and found["dev_qrels"]:
        made.append(contexts("dev.jsonl", dev, lambda: judged(dev[0], dev[1], "msmarco"), _ids(dev[1])))
    tracks = _ids(*(found[f"{year}_qrels"][0] for year in YEARS))
    made.append(contexts("test.jsonl", test, lambda: _both(found), tracks))
    for year in YEARS:
        path = found[f"{year}_qrels"]
        made.append(judgements(f"qrels.dl{year}.tsv", path, partial(read_qrels, path[0], "trec")))
    return made


def judged(queries: Path, qrels: Path, source: str) -> Iterator[Context]:
    """Queries that are judged."""
    return questions(queries, read_qrels(qrels, "trec"), source)


def passages(path: Path, prefix: str = "") -> Iterator[Document]:
    """Passages of a table id<TAB>text."""
    for _, (name, text) in read_table(path, ("id", "text")):
        yield Document(prefix + name, text)


def _both(found: Found) -> Iterator[Context]:
    for year in YEARS:
        yield from judged(found[year][0], found[f"{year}_qrels"][0], f"dl{year}")


def _ids(*qrels: Path) -> Callable[[], list[str]]:
    """Queries that are judged in any of the files."""
    return lambda: [name for path in qrels for name in read_qrels(path, "trec")]


SET = DataSet(
    "msmarco",
    "web passages and queries of MS MARCO, and the judged queries of TREC Deep Learning 2019 and 2020",
    ("twolar", "dgr"),
    "non-commercial research, as MS MARCO's terms have it; judgements by NIST",
    "https://microsoft.github.io/msmarco/ and https://trec.nist.gov/data/deep.html",
    (
        Source("passages", ("collection.tsv",), "8.8 million passages", corpus=True),
        Source("train", ("queries.train.tsv",), "queries", needed=False),
        Source("train_qrels", ("qrels.train.tsv",), "judgements", needed=False),
        Source("dev", ("queries.dev.small.tsv", "queries.dev.tsv"), "queries", needed=False),
        Source("dev_qrels", ("qrels.dev.small.tsv",), "judgements", needed=False),
        *(Source(year, (f"msmarco-test{year}-queries.tsv",), f"queries of {year}") for year in YEARS),
        *(Source(f"{year}_qrels", (f"{year}qrels-pass.txt",), f"judgements of {year}") for year in YEARS),
    ),
    parts,
    (
        Count(("corpus.jsonl",), 8_841_823),
        Count(("train.jsonl",), 502_939),
        Count(("dev.jsonl",), 6_980),
        Count(("test.jsonl",), 43 + 54),
        Count(("qrels.dl2019.tsv",), 9_260),
        Count(("qrels.dl2020.tsv",), 11_386),
    ),
)
