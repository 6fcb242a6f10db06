"""Sparse students on disk: a folder that `sentence_transformers.SparseEncoder` opens.

With gate and turn embeddings off the folder holds sentence-transformers' own modules and opens
without this package. With either on, one module of ours replaces transformer and pooling.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distillir.students import backbone
from distillir.students.student_folder import (
    FORMAT,
    SETTINGS_FILE,
    TURNS_FILE,
    card_of,
    is_student,
    opens_plainly,
    save_folder,
    settings_in,
    with_extra,
    write_files,
)

if TYPE_CHECKING:
    from distillir.students.sparse import SparseSettings, SparseStudent

__all__ = [
    "FORMAT",
    "SETTINGS_FILE",
    "TURNS_FILE",
    "is_student",
    "load_student",
    "opens_plainly",
    "read_settings",
    "save_student",
    "write_student_files",
]


def save_student(student: SparseStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    save_folder(student, folder, plain=_save_plain, ours=_save_ours, card=_card)


def write_student_files(student: SparseStudent, folder: Path) -> None:
    """Backbone, tokenizer, settings and extra weights."""
    write_files(student, folder, "sparse")


def load_student(folder: str | Path) -> SparseStudent:
    """Re-open what `save_student` wrote.

    Raises:
        ModelError: unreadable settings, or extra weights that are missing or do not fit.
    """
    from distillir.students.sparse import SparseStudent  # it loads this module

    folder = Path(folder)
    settings = read_settings(folder)
    return with_extra(SparseStudent(*backbone.load_backbone(folder), settings), folder)


def read_settings(folder: Path) -> SparseSettings:
    """Settings of a saved student."""
    from distillir.students.sparse import SparseSettings

    return settings_in(folder, "sparse", SparseSettings, "update distillir")


def _save_plain(student: SparseStudent, folder: Path) -> None:
    from sentence_transformers import SparseEncoder  # seconds to import
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    write_student_files(student, folder)
    transformer = Transformer(
        str(folder), transformer_task="fill-mask", max_seq_length=student.settings.render.max_length
    )
    modules = [transformer, SpladePooling("max", embedding_dimension=student.dim)]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)


def _save_ours(student: SparseStudent, folder: Path) -> None:
    from sentence_transformers import SparseEncoder  # seconds to import

    from distillir.students.st_module import ConversationSplade  # it loads this module

    device = next(student.parameters()).device  # the encoder made for saving would move the student
    encoder = SparseEncoder(modules=[ConversationSplade(student)], device=str(device))
    encoder.save_pretrained(str(folder), create_model_card=False)


def _card(student: SparseStudent) -> str:
    return card_of(student, "sparse", "SparseEncoder", "sparse-encoder, splade, conversational-search", "documents")
