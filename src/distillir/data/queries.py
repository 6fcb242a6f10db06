"""Queries that are no turns of a chat: given ones, sentences cropped from documents, questions a model wrote.

Each becomes a context of a single turn, so that whatever reads contexts reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distillir.conversation import Conversation
from distillir.data.conversations import Context
from distillir.data.corpus import Corpus
from distillir.data.files import read_lines
from distillir.data.reading.passages import count_words, sentences
from distillir.data.rows import read_json_rows
from distillir.errors import DataError

GIVEN, CROP, WRITTEN = "query", "crop", "question"


def read_queries(path: str | Path) -> list[Context]:
    """Read BEIR's `queries.jsonl` (`_id`, `text`) or a tab-separated `id<TAB>text`, plain or gzipped.

    Raises:
        DataError: naming the line: no text, no id, an id given twice.
    """
    path = Path(path)
    found: dict[str, Context] = {}
    for line, name, text in _json(path) if ".jsonl" in path.suffixes else _columns(path):
        if not name.strip() or not text.strip():
            raise DataError(path, "a query needs an id and a text", line=line)
        if name in found:
            raise DataError(path, f"query {name!r} is given twice", line=line)
        found[name] = _context(name, text, GIVEN)
    return list(found.values())


def cropped_sentences(corpus: Corpus, number: int, seed: int = 0, *, least: int = 5, most: int = 40) -> list[Context]:
    """Sentences of documents as queries: one of each of `number` documents, drawn at random.

    Half of TWOLAR's queries are such (arXiv 2403.17759, section 3.1): they cost no model call. The document that a
    sentence comes from is the relevant one.

    Args:
        corpus: the documents; those without a fitting sentence are passed over, so fewer may come.
        number: how many.
        seed: of documents and sentences.
        least, most: words of a sentence.

    Raises:
        DataError: no document has a fitting sentence.
    """
    rng = np.random.default_rng(seed)
    found: list[Context] = []
    for i in crop_order(len(corpus), rng):
        if len(found) == number:
            return found
        document = corpus.document(i)
        cut = [" ".join(one.split()) for one in sentences(document.text)]
        fitting = [one for one in cut if least <= count_words(one) <= most]
        if fitting:
            text = fitting[int(rng.integers(len(fitting)))]
            found.append(_context(f"crop-{document.id}", text, CROP, document.id))
    if number and not found:
        raise DataError(corpus.path, f"no document has a sentence of {least} to {most} words", cure="allow others")
    return found


def crop_order(documents: int, rng: np.random.Generator) -> list[int]:
    """Positions of documents in the order in which they are asked for a sentence; `rng` is a fresh one of the seed."""
    order: list[int] = rng.permutation(documents).tolist()
    return order


def written_questions(values: Mapping[str, Mapping[str, Any]]) -> list[Context]:
    """Questions that a model wrote of documents.

    Args:
        values: document id → value of its label, as `store.values("synthetic/questions", "conversation")` gives them
            after `distillir label synthesize`.
    """
    return [
        _context(f"question-{document}", value["messages"][0]["content"], WRITTEN, document)
        for document, value in values.items()
    ]


def _context(name: str, text: str, source: str, document: str = "") -> Context:
    relevant = {document: 1} if document else {}
    return Context(name, Conversation.from_pairs([], text, id=name), relevant=relevant, source=source)


def _json(path: Path) -> list[tuple[int, str, str]]:
    return [(row.line, row.filled("_id"), row.filled("text")) for row in read_json_rows(path)]


def _columns(path: Path) -> list[tuple[int, str, str]]:
    rows = []
    for line, content in read_lines(path):
        name, tab, text = content.partition("\t")
        if not tab:
            raise DataError(path, "no tab between id and text", line=line)
        rows.append((line, name, text))
    return rows
