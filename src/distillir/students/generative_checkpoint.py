"""Generative students on disk: what transformers opens, with the settings beside."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from distillir.students.reranker_language import load_language_model
from distillir.students.student_folder import settings_in, student_folder, write_settings

if TYPE_CHECKING:
    from distillir.students.generative import GenerativeStudent

KIND = "generative"


def save_generative(student: GenerativeStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    with student_folder(folder) as fresh:
        student.model.save_pretrained(fresh)
        student.tokenizer.save_pretrained(fresh)
        write_settings(asdict(student.settings), fresh, KIND)
        (fresh / "README.md").write_text(_card(student), encoding="utf-8")


def load_generative(folder: str | Path) -> GenerativeStudent:
    """Re-open what `save_generative` wrote.

    Raises:
        ModelError: unreadable settings, another kind of student, or weights that are missing or do not fit.
    """
    from distillir.students.generative import GenerativeSettings, GenerativeStudent  # it loads this module

    folder = Path(folder)
    settings = settings_in(folder, KIND, GenerativeSettings, "open it as what it is")
    return GenerativeStudent(*load_language_model(folder), settings)


def _card(student: GenerativeStudent) -> str:
    template = student.settings.template
    views = "\n".join(
        f"- {view.name}, {'a whole text' if view.whole else f'{view.length} tokens of a text'}: "
        f"`{json.dumps(template + view.prompt, ensure_ascii=False)}`"
        for view in student.settings.views
    )
    return (
        "---\nlibrary_name: transformers\ntags: [generative-retrieval, conversational-search]\n---\n\n"
        "# Generative retriever\n\nIt writes identifiers of passages behind these prompts, where `{query}` is a "
        f"conversation, newest turn first,\nwith `{student.settings.separator}` between turns:\n\n{views}\n\n"
        "What it writes must be held to a collection's identifiers: `distillir.search.GenerativeRetriever` does both.\n"
    )
