"""What every reranker does: score chunks of pairs, lay the scores out as lists, predict in batches of tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.errors import ConversationError, ModelError
from distillir.objectives.contract import Output
from distillir.students import backbone
from distillir.students.reranker_batch import Pairs, RerankBatch, token_batches
from distillir.students.reranker_pairs import PairReader
from distillir.students.sparse import evaluating
from distillir.students.threads import side_by_side

if TYPE_CHECKING:
    from distillir.students.reranker_graph import RerankerGraph

BUDGET = 8192  # tokens of a batch, padding included
CPU_BUDGET = 1024  # on a processor small batches stay in its caches, and there are enough of them for every thread


class Reranker(nn.Module, ABC):
    """A model that reads a conversation and a passage together and gives one score.

    Attributes:
        model, tokenizer: as loaded.
        reader: makes pairs of texts.
        bf16: whether `predict` computes in bfloat16: some three times as fast on processors that can, for scores that
            agree to two or three digits.
        graph: scores in the model's place on a processor, unless `bf16`; see `students.reranker_graph`. Gone as soon as
            the model is to be trained.
    """

    bf16: bool = False
    graph: RerankerGraph | None = None

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, reader: PairReader) -> None:
        super().__init__()
        if reader.longest > backbone.positions(model.config):
            raise ModelError(
                f"conversation and passage have {reader.longest} tokens, the model {backbone.positions(model.config)} "
                "positions",
                "lower max_length or passage_length",
            )
        self.model = model
        self.tokenizer = tokenizer
        self.reader = reader
        self.train(model.training)

    @abstractmethod
    def score_pairs(self, pairs: Pairs) -> Tensor:
        """(P,) float32, one score a pair."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Save so that `load_reranker` and transformers open it."""

    def forward(self, batch: RerankBatch) -> Output:
        """Scores of every listed candidate.

        Of several chunks, only one's activations are held at a time: the others are computed again on the way back.
        """
        again = torch.is_grad_enabled() and len(batch.chunks) > 1
        parts = [
            checkpoint(self.score_pairs, chunk, use_reentrant=False) if again else self.score_pairs(chunk)
            for chunk in batch.chunks
        ]
        every = torch.cat(parts)  # (P,)
        return Output(scores=every[batch.candidates.clamp(min=0)], mask=batch.candidates >= 0)  # (B, N)

    def predict(self, pairs: Sequence[tuple[Conversation, str]], budget: int | None = None) -> NDArray[np.float32]:
        """(R,) score of each pair of a conversation and a passage, in order.

        Args:
            pairs: what is scored; equal ones are scored once.
            budget: tokens of a batch, padding included; None = 1,024 on a processor, 8,192 elsewhere. Batches hold
                pairs of about one length.

        Raises:
            ConversationError: a blank question.
            ModelError: scores that are not finite.
        """
        queries: dict[Conversation, tuple[int, ...]] = {}
        passages: dict[str, tuple[int, ...]] = {}
        for conversation, text in pairs:
            if conversation not in queries:
                if not conversation.question.strip():
                    raise ConversationError("the question is blank: nothing to rank for", "ask in words")
                queries[conversation] = self.reader.query(conversation)
            if text not in passages:
                passages[text] = self.reader.passage(text)
        place: dict[tuple[Conversation, str], int] = {}
        for pair in pairs:
            place.setdefault(pair, len(place))
        joined = [self.reader.join(queries[conversation], passages[text]) for conversation, text in place]
        device = next(self.parameters()).device
        most = budget or (CPU_BUDGET if device.type == "cpu" else BUDGET)

        graph = self.graph if device.type == "cpu" and not self.bf16 else None

        def score(chosen: list[int]) -> NDArray[np.float32]:
            padded = self.reader.pad([joined[i] for i in chosen])
            if graph is not None:
                return graph(padded)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                found: NDArray[np.float32] = self.score_pairs(padded.to(device)).cpu().numpy()
                return found

        every = np.empty(len(joined), np.float32)
        batches = token_batches([len(p) for p in joined], most)
        with evaluating(self):
            for chosen, scores in side_by_side(score, batches, device, alone=graph is not None):
                every[chosen] = scores
        if not np.isfinite(every).all():
            raise ModelError("the reranker's scores are not finite", "its weights are damaged; load it again")
        return every[[place[pair] for pair in pairs]]

    def train(self, mode: bool = True) -> Self:
        """To be trained, or not; what is trained is another model than its graph."""
        if mode:
            self.graph = None
        return super().train(mode)

    def fingerprint(self) -> str:
        """Hash of all weights."""
        return backbone.fingerprint(self)
