"""Relevance judgements, TREC (`qid 0 docid rel`) or tab-separated with BEIR's header."""

from __future__ import annotations

import re
from pathlib import Path

from distillir.data.columns import Format, check_writable, format_of, read_columns
from distillir.data.files import replacing_lines
from distillir.errors import DataError

Qrels = dict[str, dict[str, int]]
"""Query id -> document id -> grade; a grade of 0 or less means judged and not relevant."""

HEADER = ("query-id", "corpus-id", "score")
WIDTHS: dict[Format, int] = {"trec": 4, "tsv": 3}
INTEGER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)


def read_qrels(path: str | Path, format: Format | None = None) -> Qrels:
    """Read judgements, plain or gzipped.

    Raises:
        DataError: wrong number of columns, a grade that is no integer, a pair judged twice, an empty file.
    """
    path, qrels = Path(path), Qrels()
    for number, found, columns in read_columns(path, WIDTHS, HEADER, format):
        query, document, grade = (columns[0], *columns[-2:])
        if not INTEGER.fullmatch(grade):
            raise DataError(path, f"the grade {grade!r} is not an integer ({found} row)", line=number)
        judged = qrels.setdefault(query, {})
        if document in judged:
            raise DataError(path, f"query {query!r} and document {document!r} were judged before", line=number)
        judged[document] = int(grade)
    if not qrels:
        raise DataError(path, "a header and no judgements")
    return qrels


def write_qrels(path: str | Path, qrels: Qrels, format: Format | None = None) -> None:
    """Write judgements, all or nothing; .tsv names are tab-separated, others TREC, .gz is gzipped.

    A query without judgements has no row, so it is not there when read again.

    Raises:
        DataError: an id the format cannot hold, a full disk.
    """
    path = Path(path)
    kind = format or format_of(path)
    with replacing_lines(path) as out:
        if kind == "tsv":
            out.write(("\t".join(HEADER) + "\n").encode())
        for query, judged in qrels.items():
            check_writable(path, query, kind)
            for document, grade in judged.items():
                check_writable(path, document, kind)
                row = f"{query}\t{document}\t{grade}" if kind == "tsv" else f"{query} 0 {document} {grade}"
                out.write(f"{row}\n".encode())
