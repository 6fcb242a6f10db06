"""A dense student with gate or turn embeddings as one sentence-transformers module: rendering, encoder and pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers.base.modules.input_module import InputModule

from distillir.students.dense import DenseStudent
from distillir.students.dense_checkpoint import load_dense_student, write_dense_files
from distillir.students.st_module import ConversationSplade


class ConversationEncoder(ConversationSplade):
    """A dense student as a sentence-transformers module; it reads what the sparse one reads.

    Args:
        student: what encodes.
    """

    student: DenseStudent  # type: ignore[assignment]

    def __init__(self, student: DenseStudent) -> None:
        InputModule.__init__(self)  # type: ignore[no-untyped-call]
        self.student = student
        self.tokenizer = student.tokenizer

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the student's files."""
        write_dense_files(self.student, Path(output_path))

    @classmethod
    def opened(cls, folder: str) -> DenseStudent:  # type: ignore[override]
        """The dense student of a folder."""
        return load_dense_student(folder)
