"""Rerankers on disk: what transformers and, for encoders, `sentence_transformers.CrossEncoder` open."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from distillir.students.reranker_backbone import load_classifier
from distillir.students.reranker_graph import FOLDER, graph_of
from distillir.students.student_folder import is_student, kind_of, settings_in, student_folder, write_settings

if TYPE_CHECKING:
    from distillir.students.reranker import RerankerStudent
    from distillir.students.reranker_base import Reranker
    from distillir.students.reranker_language import LanguageReranker

KIND, LANGUAGE = "reranker", "language_reranker"
IDENTITY = "torch.nn.modules.linear.Identity"  # scores are logits; the library would put a sigmoid on them


def save_reranker(student: RerankerStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    from sentence_transformers import __version__  # seconds to import

    with student_folder(folder) as fresh:
        student.model.config.sentence_transformers = {"activation_fn": IDENTITY, "version": __version__}
        student.model.save_pretrained(fresh)
        length = student.tokenizer.model_max_length
        student.tokenizer.model_max_length = student.reader.longest
        try:
            student.tokenizer.save_pretrained(fresh)
        finally:
            student.tokenizer.model_max_length = length
        write_settings(asdict(student.settings), fresh, KIND)
        (fresh / "README.md").write_text(_card(student), encoding="utf-8")


def load_reranker_student(folder: str | Path) -> RerankerStudent:
    """Re-open what `save_reranker` wrote.

    Raises:
        ModelError: unreadable settings, or weights that are missing or do not fit.
    """
    from distillir.students.reranker import RerankerSettings, RerankerStudent  # it loads this module

    folder = Path(folder)
    settings = settings_in(folder, KIND, RerankerSettings, "open it as what it is")
    student = RerankerStudent(*load_classifier(folder), settings)
    if (folder / FOLDER).is_dir():
        student.graph = graph_of(folder, student.fingerprint())
    return student


def save_language_reranker(student: LanguageReranker, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    with student_folder(folder) as fresh:
        student.model.save_pretrained(fresh)
        student.tokenizer.save_pretrained(fresh)
        write_settings(asdict(student.settings), fresh, LANGUAGE)
        (fresh / "README.md").write_text(_language_card(student), encoding="utf-8")


def load_language_reranker(folder: str | Path) -> LanguageReranker:
    """Re-open what `save_language_reranker` wrote.

    Raises:
        ModelError: unreadable settings, or weights that are missing or do not fit.
    """
    from distillir.students.reranker_language import (  # it loads this module
        LanguageReranker,
        LanguageRerankerSettings,
        load_language_model,
    )

    folder = Path(folder)
    settings = settings_in(folder, LANGUAGE, LanguageRerankerSettings, "open it as what it is")
    return LanguageReranker(*load_language_model(folder), settings)


def load_reranker(folder: str | Path) -> Reranker:
    """Re-open a saved reranker of either kind, or a cross-encoder of any other make.

    Args:
        folder: of a saved student; or a folder or model id of a cross-encoder that others trained.

    Raises:
        ModelError: no reranker, or one whose head was never trained.
    """
    from distillir.students.reranker import RerankerStudent

    if not is_student(folder):
        return RerankerStudent(*load_classifier(folder, trained=True))
    if kind_of(folder) == LANGUAGE:
        return load_language_reranker(folder)
    return load_reranker_student(folder)


def _language_card(student: LanguageReranker) -> str:
    settings = student.settings
    if settings.score == "token":
        read = f"the logit of `{settings.token}`"
    else:
        read = f"the logit of `{settings.true}` minus that of `{settings.false}`"
        read = f"the logistic function of {read}" if settings.score == "softmax" else read
    place = "the first token of the decoder" if student.seq2seq else "the token behind the prompt"
    return (
        "---\nlibrary_name: transformers\ntags: [text-ranking, conversational-search]\n---\n\n"
        f"# Conversational reranker\n\nThe prompt is `{settings.template}`; a conversation is its turns, the newest "
        f"first, with `{settings.separator}` between them. The score is {read} as {place}; higher is more relevant.\n"
        "\n`distillir.students.load_reranker(path)` opens it with these settings.\n"
    )


def _card(student: RerankerStudent) -> str:
    render, sep = student.settings.render, student.tokenizer.sep_token
    order = f"newest turn first, answers {'in' if render.answers else 'out'}"
    string = f"and when? {sep} Frank Herbert. {sep} who wrote Dune?" if render.answers else "and when?"
    return (
        "---\nlibrary_name: sentence-transformers\ntags: [text-ranking, cross-encoder, conversational-search]\n---\n\n"
        f"# Conversational reranker\n\nReads a conversation ({order}, {render.max_length - 2} tokens) and a passage "
        f"({student.settings.passage_length} tokens) together and gives one logit; higher is more relevant.\n\n"
        "```python\nfrom sentence_transformers import CrossEncoder\n\nreranker = CrossEncoder(path)\n"
        f'reranker.predict([("{string}", "Dune appeared in 1965.")])\n```\n\n'
        "The library cuts what is too long from the longer side. `distillir` cuts both sides apart, oldest turns "
        "first;\n`RerankerStudent.from_pretrained(path).reader.strings(conversation, passage)` gives texts that were "
        "cut so.\n"
    )
