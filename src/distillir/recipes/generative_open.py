"""Folders that a generative student searches: a run's own, or those made of another corpus for the same student."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillir.data import Corpus, open_or_build
from distillir.data.corpus import told_of
from distillir.errors import ConfigError, DataError, SearchIndexError
from distillir.index.identifiers import FILE, IdentifierIndex, view_texts
from distillir.recipes.marks import file_digest, mark_of, says, told_by, write_text
from distillir.search import GenerativeRetriever
from distillir.students import GenerativeStudent
from distillir.students.device import fastest_device

SEARCH = "generative.json"
IDENTIFIERS = "identifiers"


def is_generative_folder(folder: str | Path) -> bool:
    """Whether a folder is one that a generative student searches."""
    return (Path(folder) / SEARCH).is_file()


def identifiers_of(
    student: GenerativeStudent,
    corpus: Corpus,
    out: Path,
    questions: Mapping[str, Sequence[str]] | None = None,
    *,
    lacking: bool = False,
) -> IdentifierIndex:
    """The identifiers of a corpus in `out`, built unless they were made of exactly this.

    Args:
        student: whose views and tokenizer.
        corpus: passages.
        out: folder of the index.
        questions: document id → pseudo-queries.
        lacking: leave out views that there is no text for; else they are refused.
    """
    views = student.settings.views
    if lacking:
        views = tuple(view for view in views if any(view_texts(one, view, questions) for one in corpus))
        if not views:
            wanted = ", ".join(view.name for view in student.settings.views)
            raise SearchIndexError(
                f"the student writes {wanted}, and the documents have none", "choose other documents, or give questions"
            )
    fingerprint, mark = student.reader.fingerprint(), mark_of(out, IDENTIFIERS)
    told = told_by(
        corpus=file_digest(corpus.path),
        tokenizer=fingerprint,
        views=[vars(view) for view in views],
        questions=sorted((name, list(texts)) for name, texts in (questions or {}).items()),
    )
    folder = out / IDENTIFIERS
    if says(mark, told) and (folder / FILE).is_file():
        return IdentifierIndex.open(folder, tokenizer=fingerprint, corpus=corpus)
    mark.unlink(missing_ok=True)
    index = IdentifierIndex.build(
        corpus, folder, views, student.reader.text, tokenizer=fingerprint, questions=questions
    )
    write_text(mark, told)
    return index


def write_search(out: Path, student: str | Path, corpus: Corpus, **options: float) -> None:
    """Say what searches a folder: the last thing that is written, so what agrees with it is whole.

    Args:
        out: the folder.
        student: folder of the student; relative ones are relative to `out`.
        corpus: of the folder.
        options: of `GenerativeRetriever`.
    """
    write_text(
        out / SEARCH, json.dumps({"student": str(student), "corpus": told_of(corpus), **options}, indent=2) + "\n"
    )


def index_for(
    student: str | Path,
    corpus: str | Path,
    out: str | Path,
    questions: Mapping[str, Sequence[str]] | None = None,
) -> IdentifierIndex:
    """Make another corpus searchable for a trained student; of views that it has no text for none are made.

    Args:
        student: folder of the student, or of the run that trained it.
        corpus: documents: JSONL, BEIR or Parquet.
        out: folder to make; `open_generative_retriever` and `distillir search` open it.
        questions: document id → pseudo-queries, where the student writes such.

    Raises:
        DataError: documents that cannot be read. ModelError: no such student.
        SearchIndexError: documents with nothing of what the student writes.
    """
    source, out = Path(student).resolve(), Path(out)
    options: dict[str, float] = {}
    if is_generative_folder(source):
        named = _options(source)
        options = {name: value for name, value in named.items() if name not in ("student", "corpus")}
        source = (source / str(named["student"])).resolve()
    model = GenerativeStudent.from_pretrained(source)
    documents = open_or_build(corpus, out / "corpus.arrow")
    index = identifiers_of(model, documents, out, questions, lacking=True)
    write_search(out, source, documents, **options)
    return index


def open_generative_retriever(out: str | Path, **more: Any) -> GenerativeRetriever:
    """The retriever of a finished run folder, or of one that `index_for` made.

    Args:
        out: the folder.
        more: arguments of `GenerativeRetriever`, such as `reranker`, in place of those kept there.

    Raises:
        DataError: no such folder, a run that has not got so far, or one that was stopped over another corpus.
        ConfigError: an argument that the retriever has not.
    """
    out = Path(out)
    if not is_generative_folder(out):
        raise DataError(
            out,
            "not a folder that a generative student searches",
            cure="run the recipe to its end, or `distillir identifiers STUDENT CORPUS`",
        )
    options = _options(out)
    student = GenerativeStudent.from_pretrained(out / str(options.pop("student"))).to(fastest_device())
    corpus = Corpus.open(out / "corpus.arrow")
    if options.pop("corpus") != told_of(corpus):
        raise DataError(
            out,
            "its passages are others than those that student and identifiers were made for: a run was stopped",
            cure="run the same recipe or command to its end",
        )
    index = IdentifierIndex.open(out / IDENTIFIERS)
    try:
        return GenerativeRetriever(student, index, corpus, **{**options, **more})
    except TypeError as error:
        raise ConfigError(f"{out / SEARCH}: {error}", "give what GenerativeRetriever takes") from error


def _options(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / SEARCH).read_text(encoding="utf-8"))
        return {"student": found["student"], "corpus": found["corpus"], **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(folder / SEARCH, f"unreadable ({error!r})", cure="run the recipe again") from error
