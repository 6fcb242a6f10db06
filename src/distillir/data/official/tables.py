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
    """Rows with the line each ends on; a first row of just these names is a header.

    Args:
        path: tab-separated, plain or packed.
        columns: what a row has.
        quoted: texts may stand in quotation marks, as spreadsheets write them.

    Raises:
        DataError: a row with another number of columns, or a quotation mark that is never closed.
    """
    path, number = Path(path), 0

    def lines() -> Iterator[str]:
        nonlocal number
        for here, line in read_lines(path):
            number = here
            yield f"{line}\n"

    reader: Iterator[list[str]]
    if quoted:
        reader = csv.reader(lines(), delimiter="\t")
    else:
        reader = (line.removesuffix("\n").split("\t") for line in lines())
    first = True
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(path, f"not a table: {error}", line=number, cure="fetch the file again") from None
        if row is None:
            return
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
    """Contexts of a table `id<TAB>text` for the queries that are judged; grades above 0 are relevant."""
    for _, (name, text) in read_table(path, ("id", "text")):
        if name in qrels:
            relevant = {document: grade for document, grade in qrels[name].items() if grade > 0}
            yield Context(name, Conversation.from_pairs([], text, id=name), relevant=relevant, source=source)


def judged_by(contexts: Iterable[Context]) -> Qrels:
    """What the contexts name as relevant."""
    return {context.id: dict(context.relevant) for context in contexts if context.relevant}
