"""Documents that a recipe names: a file of rows, or a folder of Markdown, text, HTML and PDF read as passages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillir.data import Corpus, open_or_build
from distillir.data.corpus import open_or_write
from distillir.data.reading import ReadingReport, folder_digest, read_folder


def corpus_of(source: Path, path: Path, say: Callable[[str], None]) -> Corpus:
    """The corpus at `path`, read again when the source changed.

    Args:
        source: JSONL, BEIR or Parquet; or a folder, see `data.reading`. When it is gone, what was read of it is opened.
        path: the Arrow file.
        say: told what was read of a folder, and what was left out.
    """
    if not source.is_dir():
        return open_or_build(source, path)
    report = ReadingReport()
    passages = read_folder(source, report, leave_out=path.parent)
    corpus = open_or_write(path, f"folder {folder_digest(source, path.parent)}", passages)
    if report.passages:
        say(f"{source}: {report}")
        for name, reason in report.named:
            say(f"  {name}: {reason}")
    return corpus
