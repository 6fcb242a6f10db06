"""Texts, documents, files and folders to a corpus of passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distillir.data import Corpus, Document
from distillir.data.reading import (
    ReadingReport,
    count_words,
    file_digest,
    folder_digest,
    note_long,
    read_file,
    read_folder,
    split,
)
from distillir.data.reading.text import parse_text
from distillir.errors import DataError
from distillir.search.kept import KeptFolder

Source = str | Path | Iterable[str | Mapping[str, Any] | Document]


def read_source(source: Source, kept: KeptFolder, words: int, *, stamped: bool) -> tuple[Path, ReadingReport, str]:
    """What a user calls their documents, as a file of passages; an unchanged folder or file is not read again.

    Args:
        source: as `open_documents` takes it.
        kept: where the passages go.
        words: most words of a passage.
        stamped: whether the source is to be recognised next time.

    Returns:
        The file, what was read, and a stamp of the source, empty where it has none.
    """
    from distillir import __version__

    report, stamp = ReadingReport(), ""
    if isinstance(source, Mapping | Document) or not isinstance(source, str | Path | Iterable):
        raise DataError(
            "documents", f"a {type(source).__name__} alone", cure="give a list of them, or a folder or file"
        )
    if not isinstance(source, str | Path):
        documents = _given(source, report, words)
    else:
        path = _existing(source)
        if stamped:
            content = folder_digest(path, kept.path) if path.is_dir() else f"{path.name} {file_digest(path)}"
            stamp = f"{__version__} {words} {content}"
            state = kept.state()
            known = kept.path / str(state.get("generation")) / "corpus.arrow"
            if state.get("stamp") == stamp and known.is_file():
                return known, ReadingReport.from_dict(state["reading"]), stamp
        folder = path.is_dir()
        documents = (
            read_folder(path, report, words=words, leave_out=kept.path)
            if folder
            else read_file(path, report, words=words)
        )
    return Corpus.build(documents, kept.path / "reading.arrow").path, report, stamp


def _existing(source: str | Path) -> Path:
    path = Path(source)
    try:
        found = path.exists()
    except OSError:  # a whole text is no name of a file
        found = False
    if not found:
        shown = f"{str(source)[:60]}…" if len(str(source)) > 60 else source
        raise DataError(shown, "no such file or folder", cure="check the path; texts themselves are given as a list")
    return path


def _given(
    items: Iterable[str | Mapping[str, Any] | Document], report: ReadingReport, words: int
) -> Iterator[Document | Mapping[str, Any]]:
    """Texts get their number as id, and `3#2` for the second passage of a long one; so do mappings without an id."""
    for number, item in enumerate(items):
        name = str(number)
        if not isinstance(item, str):
            document = item
            if isinstance(item, Mapping) and "_id" not in item and "id" not in item:
                document = {"_id": name, **item}
            if isinstance(document, Mapping) and isinstance(document.get("text"), str):
                note_long(Document(str(document.get("_id", document.get("id"))), document["text"]), report, words)
            elif isinstance(document, Document):
                note_long(document, report, words)
            report.passages["documents"] += 1
            yield document
        elif not item.strip():
            report.skip(f"text {number}", "an empty text")
        elif count_words(item) <= words:
            report.passages["texts"] += 1
            yield Document(name, item)
        else:
            for part, passage in enumerate(split(parse_text(item), "", words), start=1):
                report.passages["texts"] += 1
                yield Document(
                    f"{name}#{part}", passage.text, passage.title, name, {"lines": [passage.start, passage.end]}
                )
