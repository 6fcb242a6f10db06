"""Runs, TREC (`qid Q0 docid rank score tag`) or tab-separated (`query-id corpus-id rank score`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from distillir.data.columns import Format, check_writable, format_of, read_columns
from distillir.data.files import replacing_lines
from distillir.errors import DataError

Run = dict[str, dict[str, float]]
"""Query id -> document id -> score. The order is that of the scores; ranks in files are not read."""

HEADER = ("query-id", "corpus-id", "rank", "score")
WIDTHS: dict[Format, int] = {"trec": 6, "tsv": 4}


def ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Documents by score, best first, ties by document id."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def read_run(path: str | Path, format: Format | None = None) -> Run:
    """Read a run, plain or gzipped; a tab-separated one may lack its header.

    Raises:
        DataError: wrong number of columns, a score that is no finite number, a document listed twice, an empty file.
    """
    path, run = Path(path), Run()
    for number, kind, columns in read_columns(path, WIDTHS, HEADER, format):
        query, document, written = (
            (columns[0], columns[1], columns[3]) if kind == "tsv" else (columns[0], columns[2], columns[4])
        )
        try:
            score = float(written)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise DataError(path, f"the score {written!r} is not a finite number ({kind} row)", line=number)
        listed = run.setdefault(query, {})
        if document in listed:
            raise DataError(path, f"query {query!r} lists document {document!r} twice", line=number)
        listed[document] = score
    if not run:
        raise DataError(path, "a header and no results")
    return run


def write_run(path: str | Path, run: Run, tag: str = "distillir", format: Format | None = None) -> None:
    """Write a run by descending score, ties by document id, all or nothing.

    Scores are written so that reading gives the same floats. A query without results has no row.

    Raises:
        DataError: a score that is not finite, an id the format cannot hold, a full disk.
    """
    path = Path(path)
    kind = format or format_of(path)
    check_writable(path, tag, "trec")
    with replacing_lines(path) as out:
        if kind == "tsv":
            out.write(("\t".join(HEADER) + "\n").encode())
        for query, scores in run.items():
            check_writable(path, query, kind)
            for document, score in scores.items():
                check_writable(path, document, kind)
                if not math.isfinite(score):
                    raise DataError(path, f"query {query!r}, document {document!r}: the score is {score}")
            for rank, (document, score) in enumerate(ranked(scores), start=1):
                number = repr(float(score))
                row = (
                    f"{query}\t{document}\t{rank}\t{number}"
                    if kind == "tsv"
                    else f"{query} Q0 {document} {rank} {number} {tag}"
                )
                out.write(f"{row}\n".encode())
