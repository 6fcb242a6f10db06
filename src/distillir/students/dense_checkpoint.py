"""Dense students on disk: a folder that `sentence_transformers.SentenceTransformer` opens.

With gate and turn embeddings off the folder holds sentence-transformers' own modules and opens without this package.
With either on, one module of ours stands in the place of transformer, pooling and normalisation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distillir.students.dense_backbone import load_encoder
from distillir.students.student_folder import card_of, save_folder, settings_in, with_extra, write_files
from distillir.students.student_folder import opens_plainly as dense_opens_plainly

if TYPE_CHECKING:
    from distillir.students.dense import DenseStudent

__all__ = ["dense_opens_plainly", "fill_dense_folder", "load_dense_student", "save_dense_student", "write_dense_files"]


def save_dense_student(student: DenseStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    save_folder(student, folder, plain=_save_plain, ours=_save_ours, card=_card)


def fill_dense_folder(student: DenseStudent, folder: Path) -> None:
    """All that a saved student has but its README, into a folder that is there."""
    (_save_plain if dense_opens_plainly(student) else _save_ours)(student, folder)


def write_dense_files(student: DenseStudent, folder: Path) -> None:
    """Encoder, tokenizer, settings and extra weights."""
    write_files(student, folder, "dense")


def load_dense_student(folder: str | Path) -> DenseStudent:
    """Re-open what `save_dense_student` wrote.

    Raises:
        ModelError: unreadable settings, or extra weights that are missing or do not fit.
    """
    from distillir.students.dense import DenseSettings, DenseStudent  # it loads this module

    folder = Path(folder)
    settings = settings_in(folder, "dense", DenseSettings, "open it as what it is")
    return with_extra(DenseStudent(*load_encoder(folder), settings), folder)


def _save_plain(student: DenseStudent, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer  # seconds to import
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    write_dense_files(student, folder)
    settings = student.settings
    modules = [
        Transformer(str(folder), max_seq_length=settings.render.max_length),
        Pooling(student.dim, settings.pooling),
        *([Normalize()] if settings.normalise else []),
    ]
    prefix = settings.query_prefix
    prompts, default = ({"query": prefix}, "query") if prefix else (None, None)
    encoder = SentenceTransformer(modules=modules, device="cpu", prompts=prompts, default_prompt_name=default)
    encoder.save_pretrained(str(folder), create_model_card=False)
    student.model.save_pretrained(folder)  # what was loaded for saving may have drawn a pooler that the student lacks


def _save_ours(student: DenseStudent, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer  # seconds to import

    from distillir.students.dense_st_module import ConversationEncoder  # it loads this module

    device = next(student.parameters()).device  # the encoder made for saving would move the student
    encoder = SentenceTransformer(modules=[ConversationEncoder(student)], device=str(device))
    encoder.save_pretrained(str(folder), create_model_card=False)


def _card(student: DenseStudent) -> str:
    return card_of(
        student, "dense", "SentenceTransformer", "sentence-similarity, conversational-search", "stored vectors"
    )
