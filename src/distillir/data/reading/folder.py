"""Files and folders of files to documents, one file in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from distillir.data.documents import Document, read_documents
from distillir.data.reading.blocks import Parsed, UnreadableError
from distillir.data.reading.html import parse_html
from distillir.data.reading.markdown import parse_markdown
from distillir.data.reading.passages import WORDS, count_words, split
from distillir.data.reading.pdf import parse_pdf
from distillir.data.reading.report import ReadingReport
from distillir.data.reading.text import decode, parse_text
from distillir.data.reading.walk import LARGEST, SUFFIXES, Found, Kind, kind_of, walk
from distillir.errors import DataError

LONG = "longer than a passage: only its beginning is encoded"


def read_folder(
    folder: str | Path,
    report: ReadingReport | None = None,
    *,
    words: int = WORDS,
    leave_out: str | Path | None = None,
) -> Iterator[Document]:
    """Passages of all files in a folder and in its folders, in order of their names.

    A passage's id is its file's path in the folder and a number, `guide/install.md#3`; its group is that path. Its
    metadata has `source` (the path), `kind`, `headings` and `lines` or `pages`, first and last. A row of a `.jsonl` or
    `.parquet` file becomes one passage as it is, numbered by its line, with its own id as `id` in the metadata.

    What cannot be read is left out and named in the report: hidden, of an unknown kind, empty, binary, not UTF-8,
    encrypted, damaged, too large (`LARGEST`), a link to a folder or to nothing, without rights.

    Args:
        folder: where the files are.
        report: filled while the passages are taken.
        words: most words of a passage; see `passages`.
        leave_out: a folder inside that is not looked at.

    Raises:
        DataError: no such folder, or nothing in it that can be read.
    """
    folder, report = Path(folder), ReadingReport() if report is None else report
    for found in walk(folder, None if leave_out is None else Path(leave_out)):
        if found.kind is None:
            report.skip(found.name, found.reason, found.detail)
        else:
            yield from _read(found, found.kind, report, words)
    if not report.passages:
        why = f" ({report.left_out})" if report.skipped else ": it is empty"
        raise DataError(
            folder, f"nothing in this folder can be read{why}", cure=f"give files of these kinds: {' '.join(SUFFIXES)}"
        )


def read_file(path: str | Path, report: ReadingReport | None = None, *, words: int = WORDS) -> Iterator[Document]:
    """Passages of one file, with its name as source. Rows of a `.jsonl` or `.parquet` file keep their own ids.

    Raises:
        DataError: why the file cannot be read.
    """
    path, report = Path(path), ReadingReport() if report is None else report
    kind = kind_of(path)
    if not path.exists():
        raise DataError(path, "no such file", cure="check the path")
    if kind is None or not path.is_file():
        what = f"a file of unknown kind {path.suffix!r}" if path.is_file() else "not a regular file"
        raise DataError(path, what, cure=f"give a folder, or a file of these kinds: {' '.join(SUFFIXES)}")
    if path.stat().st_size > LARGEST.get(kind, path.stat().st_size):
        raise DataError(path, f"larger than {LARGEST[kind] >> 20} MiB", cure="split the file")
    if kind == "rows":
        yield from _own_rows(path, report)
        return
    yield from _read(Found(path, path.name, kind), kind, report, words)
    if not report.passages:
        raise DataError(path, report.named[-1][1], cure="convert the file to UTF-8 text, or to a PDF that holds text")


def note_long(document: Document, report: ReadingReport, words: int = WORDS) -> None:
    """Remark on a document that was given whole and is longer than a passage."""
    if len(document.contents) > words and count_words(document.contents) > words:
        report.note(document.id, LONG)


def _read(found: Found, kind: Kind, report: ReadingReport, words: int) -> Iterator[Document]:
    number = 0
    try:
        for document in _documents(found, kind, report, words):
            number += 1
            report.passages[kind] += 1
            yield document
        if not number:
            raise UnreadableError("no text in it")
    except UnreadableError as error:
        problem = error.reason, error.detail
    except DataError as error:
        place = f"line {error.line}: " if error.line is not None else ""
        problem = "rows that are no documents", f"{place}{error.reason}"
    except OSError as error:
        problem = "cannot be read", str(error.strerror)
    else:
        report.files[kind] += 1
        return
    if number:
        report.files[kind] += 1
        report.note(found.name, f"read in part: {problem[0]}", problem[1])
    else:
        report.skip(found.name, *problem)


def _documents(found: Found, kind: Kind, report: ReadingReport, words: int) -> Iterator[Document]:
    if kind == "rows":
        for line, row in read_documents(found.path):
            note_long(row, report, words)
            about = {**row.metadata, "id": row.id, "source": found.name, "kind": kind, "lines": [line, line]}
            yield replace(row, id=f"{found.name}#{line}", group=row.group or found.name, metadata=about)
        return
    parsed = _parsed(found.path, kind)
    for number, passage in enumerate(split(parsed, _name_of(found.path), words), start=1):
        about = {
            "source": found.name,
            "kind": kind,
            "headings": list(passage.headings),
            parsed.unit: [passage.start, passage.end],
        }
        yield Document(f"{found.name}#{number}", passage.text, passage.title, found.name, about)


def _parsed(path: Path, kind: Kind) -> Parsed:
    if kind == "pdf":
        return parse_pdf(path)
    data = path.read_bytes()
    if kind == "html":
        return parse_html(data)
    return parse_markdown(decode(data)) if kind == "markdown" else parse_text(decode(data))


def _own_rows(path: Path, report: ReadingReport) -> Iterator[Document]:
    for _, row in read_documents(path):
        note_long(row, report)
        report.passages["rows"] += 1
        yield row
    report.files["rows"] += 1


def _name_of(path: Path) -> str:
    """A file's name as words: its title where it has none."""
    return path.name.removesuffix(path.suffix).replace("_", " ").replace("-", " ")
