"""A dense student with gate or turn embeddings as one sentence-transformers module: rendering, encoder and pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers.base.modules.input_module import InputModule

from distillir.errors import ModelError
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
    def load(  # type: ignore[override]
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **_: Any,
    ) -> ConversationEncoder:
        """Read them back, from a folder or a model id."""
        where = (subfolder, token, cache_folder, revision, local_files_only)
        folder = cls.load_dir_path(model_name_or_path, *where)
        if folder is None:
            raise ModelError(f"{model_name_or_path}: no such checkpoint", "give a folder or a model id")
        return cls(load_dense_student(folder))
