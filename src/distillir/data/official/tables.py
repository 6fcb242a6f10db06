"""Tables of the releases: tab-separated texts, with or without quotation marks; passages as JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from distillir.conversation import Conversation
from distillir.data.conversations import Context
from distillir.data.documents import Document
from distillir.data.files import read_lines
from distillir.data.qrels import Qrels
from distillir.data.rows import read_json_rows
from distillir.errors import DataError


def read_table(path: str | Path, columns: Sequence[str], *, quoted: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line of each; a first row of just these names is a header.

    Args:
        path: tab-separated, plain or packed.
        columns: what a row has.
        quoted: texts may stand in quotation marks, as spreadsheets write them, but hold no line breaks.

    Raises:
        DataError: a row with another number of columns, or a quotation mark that its line does not close.
    """
    path, first = Path(path), True
    for number, line in read_lines(path):
        row = _unquoted(path, number, line) if quoted else line.split("\t")
        if first and [cell.strip() for cell in row] == list(columns):
            first = False
            continue
        first = False
        if len(row) != len(columns):
            wanted = ", ".join(columns)
            raise DataError(
                path,
                f"{len(row)} columns where a row has {len(columns)} ({wanted})",
                line=number,
                cure="correct that line, or fetch the file again",
            )
        yield number, row


def _unquoted(path: Path, number: int, line: str) -> list[str]:
    # One line at a time: a reader of the whole file would take all that follows an open mark for one text.
    try:
        row = next(csv.reader([f"{line}\n"], delimiter="\t"))
    except csv.Error as error:
        raise DataError(path, f"not a table: {error}", line=number, cure="fetch the file again") from None
    if row[-1].endswith("\n"):
        raise DataError(
            path,
            "a quotation mark is not closed on its line",
            line=number,
            cure="close it there, or fetch the file again; texts hold no line breaks",
        )
    return row


def passages(paths: Iterable[Path], *, prefix: str = "") -> Iterator[Document]:
    """Documents of JSON lines {id, contents}, as Pyserini's collections have them.

    Args:
        paths: the files, one after the other.
        prefix: put before ids that do not have it.
    """
    for path in paths:
        for row in read_json_rows(path):
            name = row.filled("id")
            yield Document(name if name.startswith(prefix) else prefix + name, row.text("contents"))


def questions(path: Path, qrels: Qrels, source: str) -> Iterator[Context]:
    """Contexts of a table `id<TAB>text` for the queries that are judged; grades above 0 are relevant.

    A judged query that the table lacks is no context; who asks for these counts such.
    """
    for _, (name, text) in read_table(path, ("id", "text")):
        if name in qrels:
            relevant = {document: grade for document, grade in qrels[name].items() if grade > 0}
            yield Context(name, Conversation.from_pairs([], text, id=name), relevant=relevant, source=source)


def judged_by(contexts: Iterable[Context]) -> Qrels:
    """What the contexts name as relevant."""
    return {context.id: dict(context.relevant) for context in contexts if context.relevant}
