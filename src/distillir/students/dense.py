"""The dense student: a conversation in, one vector out, scored against stored vectors of a frozen document encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.objectives.contract import Output
from distillir.rendering import Rendered, RenderSettings, render
from distillir.students import backbone
from distillir.students.batch import pad
from distillir.students.dense_backbone import POOLINGS, load_encoder, read_reading
from distillir.students.dense_batch import DenseBatch, score_dense
from distillir.students.sparse import evaluating
from distillir.students.threads import side_by_side
from distillir.students.tokens import ContentTokens
from distillir.students.turns import TurnEmbeddings, TurnGate, turn_types


@dataclass(frozen=True)
class DenseSettings:
    """What a dense student is besides its weights; saved with every checkpoint.

    Attributes:
        render: order, budget and lengths of a conversation.
        pooling: "mean" of the token states, or the first token's state, "cls".
        normalise: whether vectors have unit length, so that scores are cosines.
        gate: whether tokens are weighed by a turn gate when they are pooled; needs mean pooling.
        gate_offset: d, the gate's offset of earlier turns at the start.
        turn_embeddings: whether there are turn embeddings.
        document_length: tokens of a document, specials included.
        query_prefix, document_prefix: what the model expects before a text, such as "query: ".
        document_encoder: whose vectors the student was distilled against, as their store names it; "" = nobody's.
    """

    render: RenderSettings = field(default_factory=RenderSettings)
    pooling: Literal["mean", "cls"] = "mean"
    normalise: bool = True
    gate: bool = False
    gate_offset: float = 5.0
    turn_embeddings: bool = False
    document_length: int = 256
    query_prefix: str = ""
    document_prefix: str = ""
    document_encoder: str = ""

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling is {self.pooling!r}", f"use {' or '.join(POOLINGS)}")
        if self.gate and self.pooling != "mean":
            raise ConfigError(
                f"a turn gate weighs tokens, and pooling {self.pooling!r} reads one", "leave the gate out"
            )
        if not 0 <= self.gate_offset < math.inf:
            raise ConfigError(f"gate_offset is {self.gate_offset}", "give a number of at least 0")
        if self.document_length < 3:
            raise ConfigError(f"document_length is {self.document_length}", "give at least 3: two specials and a token")

    @classmethod
    def of(cls, source: str | Path, **changes: Any) -> DenseSettings:
        """Settings as a sentence-transformers checkpoint describes itself, and defaults where it says nothing.

        Args:
            source: folder or model id.
            changes: what is to be otherwise.
        """
        found = read_reading(source)
        if "length" in found:
            found["document_length"] = found.pop("length")
        return cls(**{**found, **changes})

    @property
    def plain(self) -> bool:
        """Whether the student is exactly the model it started from, architecture-wise."""
        return not (self.gate or self.turn_embeddings)


class DenseStudent(nn.Module):
    """An encoder whose token states are pooled into one vector of width D.

    With the gate, token i weighs exp(g_i), g_i = w·h_i + o[turn type of i], w = 0 and o = (0, −d, −d) at the start:
    history contextualises the question, but its own tokens count e^−d as much.

    Args:
        model: encoder as `load_encoder` gives it.
        tokenizer: its tokenizer.
        settings: rendering, pooling, turns.

    Raises:
        ModelError: the lengths asked for pass the model's positions.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: DenseSettings | None = None
    ) -> None:
        super().__init__()
        self.settings = settings = settings or DenseSettings()
        backbone.check_lengths(model, settings.render.max_length, settings.document_length)
        self.model = model
        self.tokenizer = tokenizer
        self.dim = int(model.config.hidden_size)
        self.gate = TurnGate(self.dim, settings.gate_offset) if settings.gate else None
        width = backbone.word_embeddings(model).embedding_dim
        self.turns = TurnEmbeddings(width) if settings.turn_embeddings else None
        self.bf16 = False  # encode in bfloat16: a matter of this machine, not of the checkpoint
        self.tokens = ContentTokens(tokenizer)
        self.train(model.training)

    @classmethod
    def from_pretrained(cls, source: str | Path, settings: DenseSettings | None = None) -> DenseStudent:
        """Start from any encoder, or re-open a saved student.

        Args:
            source: folder or model id.
            settings: by default `DenseSettings.of(source)`; None for a saved student, which brings its own.
        """
        from distillir.students.checkpoint import is_student
        from distillir.students.dense_checkpoint import load_dense_student  # it loads this class

        if is_student(source):
            if settings is not None:
                raise ModelError(f"{source} is a saved student with settings of its own", "leave settings out")
            return load_dense_student(source)
        return cls(*load_encoder(source), settings or DenseSettings.of(source))

    def save(self, folder: str | Path) -> None:
        """Save so that `sentence_transformers.SentenceTransformer` and this class open it."""
        from distillir.students.dense_checkpoint import save_dense_student

        save_dense_student(self, folder)

    # Text to tokens

    def render(self, conversation: Conversation) -> Rendered:
        """Tokens of a conversation under the student's budget."""
        if self.settings.query_prefix:
            asked = self.settings.query_prefix + conversation.question
            conversation = Conversation.from_pairs(conversation.exchanges, asked)
        return render(
            conversation,
            self.tokens,
            cls_id=self.tokenizer.cls_token_id,
            sep_id=self.tokenizer.sep_token_id,
            settings=self.settings.render,
        )

    def document_ids(self, text: str) -> list[int]:
        """Tokens of a document, specials included, cut at `document_length`."""
        content = self.tokens.read(self.settings.document_prefix + text)[: self.settings.document_length - 2]
        return [self.tokenizer.cls_token_id, *content, self.tokenizer.sep_token_id]

    # Tokens to vectors

    def represent(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and mask (B, L) bool → vectors (B, D), float32."""
        types, distances = turn_types(ids, self.tokenizer.sep_token_id, answers=self.settings.render.answers)
        embedded = backbone.word_embeddings(self.model)(ids)
        if self.turns is not None:
            embedded = embedded + self.turns(types, distances).to(embedded.dtype)
        states = self.model(inputs_embeds=embedded, attention_mask=mask.long()).last_hidden_state  # (B, L, D)
        if self.settings.pooling == "cls":
            pooled = states[:, 0]
        else:
            gate = torch.zeros_like(mask, dtype=states.dtype) if self.gate is None else self.gate(states, types)
            weights = torch.softmax(gate.masked_fill(~mask, -torch.inf), dim=1)  # (B, L)
            pooled = (weights[:, :, None] * states).sum(1)
        pooled = pooled.float()
        return F.normalize(pooled, dim=1) if self.settings.normalise else pooled

    def forward(self, batch: DenseBatch) -> Output:
        """Scores of every listed candidate against stored document vectors; no document is encoded."""
        return score_dense(self.represent(batch.ids, batch.mask), batch)

    def encode_queries(self, conversations: Sequence[Conversation], batch_size: int = 32) -> NDArray[np.float32]:
        """Conversations → (R, D) vectors, in order."""
        return self._encode([self.render(c).ids for c in conversations], batch_size)

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """Documents → (R, D) vectors, in order. A gate or turn embeddings leave them as they are only untrained."""
        return self._encode([self.document_ids(text) for text in texts], batch_size)

    def _encode(self, sequences: list[list[int]], batch_size: int) -> NDArray[np.float32]:
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        rows = np.empty((len(sequences), self.dim), np.float32)
        device = next(self.parameters()).device
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def encode(chosen: list[int]) -> NDArray[np.float32]:
            ids, mask = pad([sequences[i] for i in chosen], self.tokenizer.pad_token_id)
            narrow = torch.autocast(device.type, torch.bfloat16, enabled=self.bf16)
            with torch.inference_mode(), narrow:
                vectors = self.represent(ids.to(device), mask.to(device))
                if not vectors.isfinite().all():
                    raise ModelError("the student's vectors are not finite", "its weights are damaged; load it again")
                encoded: NDArray[np.float32] = vectors.cpu().numpy()
                return encoded

        with evaluating(self):
            for chosen, encoded in side_by_side(encode, batches, device):
                rows[chosen] = encoded
        return rows

    def fingerprint(self) -> str:
        """Hash of all weights."""
        return backbone.fingerprint(self)

    def document_reading(self) -> dict[str, object]:
        """All that decides the vector of a document: the record that a store of vectors keeps of its encoder."""
        settings = self.settings
        return {
            "encoder": self.fingerprint(),
            "pooling": settings.pooling,
            "document_length": settings.document_length,
            "document_prefix": settings.document_prefix,
        }

    @property
    def document_encoder(self) -> str:
        """Whose document vectors the student was distilled against; empty where nobody said."""
        return self.settings.document_encoder

    def describe(self) -> dict[str, object]:
        """Settings as plain values, for records."""
        return asdict(self.settings)
