"""The sparse student: a conversation in, one weight per vocabulary entry out (SPLADE, DiSCo)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.objectives.contract import Output
from distillir.rendering import Rendered, RenderSettings, render
from distillir.students import backbone
from distillir.students.batch import SparseBatch, dense_to_csr, pad, score_documents
from distillir.students.head import splade_head
from distillir.students.threads import side_by_side
from distillir.students.tokens import ContentTokens
from distillir.students.turns import TurnEmbeddings, TurnGate, turn_types
from distillir.vectors import CSR


@dataclass(frozen=True)
class SparseSettings:
    """What a sparse student is besides its weights; saved with every checkpoint.

    Attributes:
        render: order, budget and lengths of a conversation.
        gate: whether there is a turn gate.
        gate_offset: d, the gate's offset of earlier turns at the start.
        turn_embeddings: whether there are turn embeddings.
        document_length: tokens of a document, specials included.
        dropout: dropout of the backbone while training; None keeps the checkpoint's own.
    """

    render: RenderSettings = field(default_factory=RenderSettings)
    gate: bool = True
    gate_offset: float = 5.0
    turn_embeddings: bool = False
    document_length: int = 256
    dropout: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.gate_offset < math.inf:
            raise ConfigError(f"gate_offset is {self.gate_offset}", "give a number of at least 0")
        if self.document_length < 3:
            raise ConfigError(f"document_length is {self.document_length}", "give at least 3: two specials and a token")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}", "give a share from 0 to below 1, or None")

    @property
    def plain(self) -> bool:
        """Whether the student is exactly the model it started from, architecture-wise."""
        return not (self.gate or self.turn_embeddings)


class SparseStudent(nn.Module):
    """A masked language model with a trained head, read through the fused SPLADE head.

    Args:
        model: backbone as `backbone.load_backbone` gives it (tapped).
        tokenizer: its tokenizer.
        settings: rendering, gate, turn embeddings.

    Raises:
        ModelError: the lengths asked for pass the model's positions.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: SparseSettings | None = None
    ) -> None:
        super().__init__()
        self.settings = settings = settings or SparseSettings()
        backbone.check_lengths(model, settings.render.max_length, settings.document_length)
        self.model = model
        self.tokenizer = tokenizer
        projection = backbone.projection_of(model)
        self.dim = projection.out_features
        self.gate = TurnGate(projection.in_features, settings.gate_offset) if settings.gate else None
        width = backbone.word_embeddings(model).embedding_dim
        self.turns = TurnEmbeddings(width) if settings.turn_embeddings else None
        self.screen = False  # see `splade_head`: a matter of this machine, not of the checkpoint
        self.tokens = ContentTokens(tokenizer)
        if settings.dropout is not None:
            _set_dropout(model, settings.dropout)

    @classmethod
    def from_pretrained(cls, source: str | Path, settings: SparseSettings | None = None) -> SparseStudent:
        """Start from any masked language model with a trained head, or re-open a saved student.

        A saved student brings its own settings; `settings` then must be None.
        """
        from distillir.students.checkpoint import is_student, load_student  # it loads this class

        if is_student(source):
            if settings is not None:
                raise ModelError(f"{source} is a saved student with settings of its own", "leave settings out")
            return load_student(source)
        return cls(*backbone.load_backbone(source), settings)

    def save(self, folder: str | Path) -> None:
        """Save so that `sentence_transformers.SparseEncoder` and this class open it."""
        from distillir.students.checkpoint import save_student

        save_student(self, folder)

    # Text to tokens

    def render(self, conversation: Conversation) -> Rendered:
        """Tokens of a conversation under the student's budget."""
        return render(
            conversation,
            self.tokens,
            cls_id=self.tokenizer.cls_token_id,
            sep_id=self.tokenizer.sep_token_id,
            settings=self.settings.render,
        )

    def document_ids(self, text: str) -> list[int]:
        """Tokens of a document, specials included, cut at `document_length`."""
        content = self.tokens.read(text)[: self.settings.document_length - 2]
        return [self.tokenizer.cls_token_id, *content, self.tokenizer.sep_token_id]

    def terms(self, indices: Sequence[int]) -> list[str]:
        """Vocabulary strings of dimensions."""
        return list(self.tokenizer.convert_ids_to_tokens([int(i) for i in indices]))

    # Tokens to vectors

    def states(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Token ids (B, L) and mask (B, L) bool → states before the head (B, L, H) and gate (B, L), if there is one."""
        types, distances = turn_types(ids, self.tokenizer.sep_token_id, answers=self.settings.render.answers)
        embedded = backbone.word_embeddings(self.model)(ids)
        if self.turns is not None:
            embedded = embedded + self.turns(types, distances).to(embedded.dtype)
        states = self.model(inputs_embeds=embedded, attention_mask=mask.long()).logits  # (B, L, H): the head is tapped
        return states, None if self.gate is None else self.gate(states, types)

    def represent(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and mask (B, L) bool → vectors (B, V), float32."""
        states, gate = self.states(ids, mask)
        head = backbone.projection_of(self.model)
        return splade_head(states, head.weight, head.bias, mask, gate, screen=self.screen).float()

    def forward(self, batch: SparseBatch) -> Output:
        """Scores of every listed candidate against stored document vectors; no document is encoded."""
        vectors = self.represent(batch.ids, batch.mask)
        return score_documents(vectors, batch)

    def encode_queries(self, conversations: Sequence[Conversation], batch_size: int = 32) -> CSR:
        """Conversations → sparse rows, in order."""
        return self._encode([self.render(c).ids for c in conversations], batch_size)

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> CSR:
        """Documents → sparse rows, in order. A gate or turn embeddings leave them as they are only untrained."""
        return self._encode([self.document_ids(text) for text in texts], batch_size)

    def _encode(self, sequences: list[list[int]], batch_size: int) -> CSR:
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        rows: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(sequences)
        device = next(self.parameters()).device
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def encode(chosen: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
            ids, mask = pad([sequences[i] for i in chosen], self.tokenizer.pad_token_id)
            with torch.inference_mode():
                vectors = self.represent(ids.to(device), mask.to(device))
                if not vectors.isfinite().all():
                    raise ModelError("the student's vectors are not finite", "its weights are damaged; load it again")
                return list(dense_to_csr(vectors))

        with evaluating(self):
            for chosen, encoded in side_by_side(encode, batches, device):
                for i, row in zip(chosen, encoded, strict=True):
                    rows[i] = row
        indptr = np.concatenate([[0], np.cumsum([len(r[0]) for r in rows])]).astype(np.int64)
        indices = np.concatenate([np.empty(0, np.int32), *(r[0] for r in rows)])
        values = np.concatenate([np.empty(0, np.float32), *(r[1] for r in rows)])
        return CSR(indptr, indices.astype(np.int32), values.astype(np.float32))

    def fingerprint(self) -> str:
        """Hash of all weights."""
        return backbone.fingerprint(self)

    def describe(self) -> dict[str, object]:
        """Settings as plain values, for records."""
        return asdict(self.settings)


def _set_dropout(model: nn.Module, share: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        if isinstance(getattr(module, "attention_dropout", None), float):  # some attentions keep a bare number
            module.attention_dropout = share  # type: ignore[assignment]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the former mode after."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
