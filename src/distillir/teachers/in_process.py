"""What models in this process have in common: read once on entering, asked in batches, named after their weights."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from distillir.errors import ModelError
from distillir.teachers.batching import Batcher
from distillir.teachers.packaged_llm import sha256_of

Asked = TypeVar("Asked")
Told = TypeVar("Told")


class InProcess(ABC, Generic[Asked, Told]):
    """A model of this process; see `Model`. Weights are read on entering, once, and stay until the object goes.

    Args:
        batch: questions that go through the model at once.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._name = ""
        self._batches: Batcher[Asked, Told] = self._batcher()

    @property
    def name(self) -> str:
        """The model, with the first digits of its weights' hash, or its revision; known once it is read.

        Raises:
            ModelError: asked before.
        """
        if not self._name:
            raise ModelError("the model has not been read", "ask for its name inside `async with model:`")
        return self._name

    @property
    def in_flight(self) -> int:
        """Two batches: one is worked on, one waits."""
        return 2 * self._batch

    async def __aenter__(self) -> Self:
        if not self._is_read():
            await asyncio.to_thread(self._load)
        self._batches = self._batcher()  # an old one may belong to an event loop that is gone
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def _is_read(self) -> bool:
        """Whether the weights are in memory."""

    @abstractmethod
    def _load(self) -> None:
        """Read the weights and settle the name."""

    @abstractmethod
    def _batcher(self) -> Batcher[Asked, Told]:
        """A fresh queue."""

    def _need_read(self) -> None:
        """Refuse questions outside `async with`."""
        if not self._is_read():
            raise ModelError("the model has not been read", "use it in `async with model:`")


def name_of(asked: str, config: Any) -> str:
    """A model's name with the first digits of its weights' hash (a folder) or of its revision (a model id).

    Args:
        asked: folder or model id.
        config: of the model that was read, as transformers gives it.
    """
    folder = Path(asked)
    if not folder.is_dir():
        return f"{asked}@{(getattr(config, '_commit_hash', None) or 'unknown')[:8]}"
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        total.update(bytes.fromhex(sha256_of(path)))
    return f"{folder.resolve().name}@{total.hexdigest()[:8]}"
