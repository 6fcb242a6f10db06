"""The generative student: it writes identifiers of passages, and what it writes scores them (SEAL, LTRGR, DGR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.data.views import BODY, TITLE, View
from distillir.errors import ConfigError, ModelError
from distillir.objectives.contract import Output
from distillir.rendering import RenderSettings
from distillir.students import backbone
from distillir.students.beams import Constraint, Found, beam_search
from distillir.students.decoder import extend, read_whole, start
from distillir.students.generative_batch import GenerativeBatch
from distillir.students.generative_prompt import PromptReader
from distillir.students.key_weights import key_weights
from distillir.students.reranker_language import load_language_model
from distillir.students.sparse import evaluating


@dataclass(frozen=True)
class GenerativeSettings:
    """What a generative student is besides its weights; saved with every checkpoint.

    Attributes:
        render: order, budget and length of the conversation.
        views: kinds of identifiers it writes.
        template: of the prompt, with {query}; the view's own prompt follows.
        separator: between the turns of a conversation.
    """

    render: RenderSettings = field(default_factory=lambda: RenderSettings(max_length=96))
    views: tuple[View, ...] = (TITLE, BODY)
    template: str = "Query: {query}"
    separator: str = " |"

    def __post_init__(self) -> None:
        # JSON, which keeps these, knows neither tuples nor views.
        made = tuple(View(**view) if isinstance(view, dict) else view for view in self.views)
        object.__setattr__(self, "views", made)
        if not made or len({view.name for view in made}) < len(made):
            raise ConfigError(f"views are {[view.name for view in made]}", "name each once, and at least one")

    def view(self, name: str) -> View:
        """A view by name.

        Raises:
            ConfigError: the student does not write it.
        """
        for view in self.views:
            if view.name == name:
                return view
        raise ConfigError(f"no view {name!r}", f"this student writes {', '.join(view.name for view in self.views)}")


class GenerativeStudent(nn.Module):
    """A language model, decoder-only or sequence to sequence, that writes identifiers.

    Args:
        model, tokenizer: as `load_language_model` gives them.
        settings: prompt and views.

    Raises:
        ModelError: prompt and identifier pass the model's positions, or the tokenizer has no end token.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: GenerativeSettings | None = None
    ) -> None:
        super().__init__()
        chosen = settings or GenerativeSettings()
        seq2seq = bool(model.config.is_encoder_decoder)
        reader = PromptReader(
            tokenizer, chosen.render, template=chosen.template, separator=chosen.separator, left=not seq2seq
        )
        longest = reader.longest(chosen.views) + (0 if seq2seq else max(view.length for view in chosen.views) + 1)
        if longest > backbone.positions(model.config):
            raise ModelError(
                f"prompt and identifier have {longest} tokens, the model {backbone.positions(model.config)} positions",
                "lower max_length",
            )
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer names no end token", "use a language model's own tokenizer")
        self.model = model
        self.tokenizer = tokenizer
        self.reader = reader
        self.settings = chosen
        self.end = int(tokenizer.eos_token_id)
        self.train(model.training)

    @classmethod
    def from_pretrained(cls, source: str | Path, settings: GenerativeSettings | None = None) -> GenerativeStudent:
        """Start from a language model, or re-open a saved student.

        Args:
            source: folder, model id, or a .gguf file.
            settings: None for a saved student, which brings its own.
        """
        from distillir.students.generative_checkpoint import load_generative  # it loads this class
        from distillir.students.student_folder import is_student

        if is_student(source):
            if settings is not None:
                raise ModelError(f"{source} is a saved student with settings of its own", "leave settings out")
            return load_generative(source)
        return cls(*load_language_model(source), settings)

    def forward(self, batch: GenerativeBatch) -> Output:
        """Scores of the listed passages, anew from the likelihood of their keys, and the likelihood of golds.

        score = Σ_k factor_k · w(ln P(key_k | query)); gradient flows through the weights w alone.
        """
        if not len(batch.written):  # a part of a batch whose contexts have nothing to write
            nothing = batch.factors.sum(2) * 0.0
            return Output(nothing, batch.mask, token_loss=nothing.new_zeros(()) if batch.likelihood else None)
        upto = self.log_probs(batch).cumsum(1)  # (S, T) of each beginning
        likelihood = None
        if batch.likelihood:
            each = -upto[:, -1] / batch.written_mask.sum(1).clamp(min=1)
            likelihood = (batch.share * each).sum() / len(batch)
        known = batch.keys >= 0  # (B, K)
        at = batch.keys.clamp(min=0), (batch.key_length - 1).clamp(min=0)
        weights = key_weights(upto[at], batch.prior)
        counted = torch.where(known, weights, 0.0)
        scores = (batch.factors * counted[:, None, :]).sum(2)  # (B, N)
        return Output(scores=scores, mask=batch.mask, token_loss=likelihood)

    def log_probs(self, batch: GenerativeBatch) -> Tensor:
        """(S, T) float32 ln P of each written token behind its prompt and what is written before it, 0 on padding."""
        rows = batch.prompt_of
        if self.training and self.model.is_activation_checkpointing:
            logits = read_whole(self.model, batch.prompts[rows], batch.prompt_mask[rows], batch.written[:, :-1])
        else:
            read, first = start(self.model, batch.prompts, batch.prompt_mask)
            logits = first[rows][:, None]  # (S, 1, V)
            if batch.written.shape[1] > 1:
                more = extend(self.model, read.rows(rows), batch.written[:, :-1])  # (S, T − 1, V)
                logits = torch.cat([logits, more], 1)
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch.written.flatten(), reduction="none")
        return -loss.view(batch.written.shape).masked_fill(~batch.written_mask, 0.0)

    def generate(
        self, conversations: Sequence[Conversation], view: str, constraint: Constraint, *, beams: int = 15
    ) -> Found:
        """Identifiers of one view for each conversation, all of them in the corpus; see `beam_search`.

        Args:
            conversations: what is searched for.
            view: name of the view.
            constraint: the view's identifiers, tokenised alike.
            beams: width of the search.

        Raises:
            ConversationError: a blank question. ConfigError: an unknown view, or no beam.
        """
        chosen = self.settings.view(view)
        prompts = [self.reader.prompt(conversation, chosen) for conversation in conversations]
        ids, mask = self.reader.pad(prompts)
        device = next(self.parameters()).device
        with evaluating(self), torch.inference_mode():
            return beam_search(
                self.model, ids.to(device), mask.to(device), constraint, chosen, beams=beams, end=self.end
            )

    def save(self, folder: str | Path) -> None:
        """Save so that transformers and this class open it."""
        from distillir.students.generative_checkpoint import save_generative

        save_generative(self, folder)

    def fingerprint(self) -> str:
        """Hash of all weights."""
        return backbone.fingerprint(self)

    def describe(self) -> dict[str, object]:
        """Settings as plain values, for records."""
        return asdict(self.settings)
