"""Rerankers on disk: what transformers and, for encoders, `sentence_transformers.CrossEncoder` open."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from distillir.students.reranker_backbone import load_classifier
from distillir.students.student_folder import settings_in, student_folder, write_settings

if TYPE_CHECKING:
    from distillir.students.reranker import RerankerStudent

KIND = "reranker"
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
    return RerankerStudent(*load_classifier(folder), settings)


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
