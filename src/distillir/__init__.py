"""DistillIR: teach a small, fast retrieval model what a large language model knows.

Importing this package loads neither torch nor transformers; names that need them are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from distillir.conversation import Conversation, Turn
from distillir.errors import DistillirError

if TYPE_CHECKING:
    from distillir.search import Hit, Retriever
    from distillir.students.sparse import SparseStudent

__version__ = "0.1.0"
__all__ = ["Conversation", "DistillirError", "Hit", "Retriever", "SparseStudent", "Turn", "__version__"]

_LAZY = {
    "Hit": "distillir.search",
    "Retriever": "distillir.search",
    "SparseStudent": "distillir.students.sparse",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
