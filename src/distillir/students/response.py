"""The response student: a conversation and a response, a vector each, scored by their scaled dot product.

What differs from the dense student is that nothing is frozen: the responses of a step are encoded in it, with gradient
(G2R, arXiv 2108.12582).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.objectives.contract import Output
from distillir.students import backbone
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.students.response_batch import ResponseBatch

COSINE_SCALE = 20.0  # cosines lie in −1 … 1, where a softmax tells nothing apart


class ResponseStudent(nn.Module):
    """One tower for both sides, or one each.

    Args:
        contexts: encodes conversations, and responses too where there is no second tower. A response is read like a
            conversation's first turn.
        responses: the second tower; neither gate nor turn embeddings, as responses have no turns.
        scale: of the dot products in training; None = 20 for vectors of unit length, 1/√D for others.

    Raises:
        ConfigError: a scale that is not positive, or towers that cannot be compared.
    """

    def __init__(
        self, contexts: DenseStudent, responses: DenseStudent | None = None, *, scale: float | None = None
    ) -> None:
        super().__init__()
        self.contexts = contexts
        self.responses = responses
        if responses is not None:
            _check_towers(contexts, responses)
        unit = contexts.settings.normalise
        self.scale = (COSINE_SCALE if unit else 1 / math.sqrt(contexts.dim)) if scale is None else scale
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"the scale of the scores is {self.scale}", "give a positive number")
        self.train(contexts.training)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        settings: DenseSettings | None = None,
        *,
        towers: int = 1,
        scale: float | None = None,
    ) -> ResponseStudent:
        """Start from any encoder, or re-open a saved student.

        Args:
            source: folder or model id.
            settings: of the towers; by default as the checkpoint says. None for a saved student.
            towers: 1 or 2, both from the same start. scale: see the class. Left out for a saved student.

        Raises:
            ModelError: settings for a saved student, which brings its own; or no encoder there.
            ConfigError: neither one nor two towers.
        """
        from distillir.students.response_checkpoint import is_response_student, load_response_student  # loads this one

        if is_response_student(source):
            if settings is not None or towers != 1 or scale is not None:
                raise ModelError(f"{source} is a saved student with settings of its own", "leave settings out")
            return load_response_student(source)
        if towers not in (1, 2):
            raise ConfigError(f"{towers} towers", "give 1, for both sides, or 2")
        contexts = DenseStudent.from_pretrained(source, settings)
        plain = replace(contexts.settings, gate=False, turn_embeddings=False)
        second = DenseStudent.from_pretrained(source, plain) if towers == 2 else None
        return cls(contexts, second, scale=scale)

    def save(self, folder: str | Path) -> None:
        """Save so that `sentence_transformers.SentenceTransformer` and this class open it: the tower of contexts in
        the folder, that of responses, if there are two, in its `responses`."""
        from distillir.students.response_checkpoint import save_response_student

        save_response_student(self, folder)

    @property
    def response_tower(self) -> DenseStudent:
        """What encodes responses."""
        return self.contexts if self.responses is None else self.responses

    @property
    def settings(self) -> DenseSettings:
        """Of the tower of contexts."""
        return self.contexts.settings

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.contexts.dim

    @property
    def document_encoder(self) -> str:
        """Nobody's vectors were distilled against."""
        return ""

    def forward(self, batch: ResponseBatch) -> Output:
        """Scores of every context's own and shared candidates.

        Of several chunks of responses, the activations of one are held at a time: the others are computed again on
        the way back.
        """
        tower = self.response_tower
        again = torch.is_grad_enabled() and len(batch.chunks) > 1
        parts = [
            checkpoint(tower.represent, *chunk, use_reentrant=False) if again else tower.represent(*chunk)
            for chunk in batch.chunks
        ]
        vectors = self.contexts.represent(batch.ids, batch.mask)  # (B, D)
        # In the width of the vectors: half-precision scores of scale 20 are 0.1 apart.
        with torch.autocast(vectors.device.type, enabled=False):
            every = self.scale * (vectors @ torch.cat(parts).t())  # (B, U)
        return Output(
            scores=every.gather(1, batch.candidates.clamp(min=0)),  # (B, N)
            mask=batch.candidates >= 0,
            vectors=vectors,
            shared=every[:, batch.shared],  # (B, S)
            shared_mask=batch.shared_mask,
        )

    def encode_queries(self, conversations: Sequence[Conversation], batch_size: int = 32) -> NDArray[np.float32]:
        """Conversations → (R, D) vectors, in order."""
        return self.contexts.encode_queries(conversations, batch_size)

    def encode_responses(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """Responses → (R, D) vectors, in order."""
        return self.response_tower.encode_documents(texts, batch_size)

    def fingerprint(self) -> str:
        """Hash of all weights."""
        return backbone.fingerprint(self)


def _check_towers(contexts: DenseStudent, responses: DenseStudent) -> None:
    if contexts is responses:
        raise ConfigError("the same tower is given twice", "leave the second out: the first serves both sides")
    if contexts.dim != responses.dim or contexts.settings.normalise != responses.settings.normalise:
        raise ConfigError(
            f"the towers make vectors of width {contexts.dim} and {responses.dim}, normalise "
            f"{contexts.settings.normalise} and {responses.settings.normalise}",
            "give towers whose vectors can be compared",
        )
    if not responses.settings.plain:
        raise ConfigError("the tower of responses has a gate or turn embeddings", "responses have no turns; leave out")
