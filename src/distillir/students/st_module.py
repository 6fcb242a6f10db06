"""One sentence-transformers module in the place of transformer and pooling.

Takes the rendered string, OpenAI-style messages, or a `Conversation`; the checkpoint carries order,
answers and lengths. Holding transformer and pooling at once keeps the (B, L, V) cube from existing
inside sentence-transformers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sentence_transformers.base.modules.input_module import InputModule
from torch import Tensor

from distillir.conversation import Conversation
from distillir.errors import ConversationError, ModelError
from distillir.rendering import from_string
from distillir.students.batch import pad
from distillir.students.checkpoint import load_student, write_student_files
from distillir.students.sparse import SparseStudent


class ConversationSplade(InputModule):
    """A sparse student as a sentence-transformers module.

    Args:
        student: what encodes.
    """

    save_in_root = True

    def __init__(self, student: SparseStudent) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.student = student
        self.tokenizer = student.tokenizer

    @property
    def modalities(self) -> list[Any]:
        """Rendered strings and messages."""
        return ["text", "message"]

    @property
    def max_seq_length(self) -> int:
        """Tokens of a conversation."""
        return self.student.settings.render.max_length

    def get_embedding_dimension(self) -> int:
        """V."""
        return int(self.student.dim)

    def get_sentence_embedding_dimension(self) -> int:
        """V, under sentence-transformers' earlier name."""
        return int(self.student.dim)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Conversations in any of the accepted forms → `input_ids`, `attention_mask`."""
        sequences = [self.student.render(self.read(one, prompt)).ids for one in inputs]
        ids, mask = pad(sequences, self.student.tokenizer.pad_token_id)
        return {"input_ids": ids, "attention_mask": mask.long(), "modality": "text"}

    def read(self, one: object, prompt: str | None = None) -> Conversation:
        """A rendered string, a message, messages, or a conversation."""
        if isinstance(one, Conversation):
            return one
        if isinstance(one, str):
            settings = self.student.settings.render
            return from_string((prompt or "") + one, sep=self.student.tokenizer.sep_token, answers=settings.answers)
        if isinstance(one, dict) and "messages" in one:
            one = one["messages"]
        if isinstance(one, dict):
            one = [one]
        if isinstance(one, list | tuple):
            return Conversation.from_messages(one)
        raise ConversationError(f"cannot read a {type(one).__name__} as a conversation", "give a string or messages")

    def forward(self, features: dict[str, Tensor | Any], **_: Any) -> dict[str, Tensor | Any]:
        """Adds `sentence_embedding` (B, V)."""
        ids, mask = features["input_ids"], features["attention_mask"]
        features["sentence_embedding"] = self.student.represent(ids, mask.bool())
        return features

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the student's files."""
        write_student_files(self.student, Path(output_path))

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
    ) -> Self:
        """Read them back, from a folder or a model id."""
        where = (subfolder, token, cache_folder, revision, local_files_only)
        folder = cls.load_dir_path(model_name_or_path, *where)
        if folder is None:
            raise ModelError(f"{model_name_or_path}: no such checkpoint", "give a folder or a model id")
        return cls(cls.opened(folder))

    @classmethod
    def opened(cls, folder: str) -> SparseStudent:
        """The sparse student of a folder."""
        return load_student(folder)
