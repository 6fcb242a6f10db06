"""Language models as rerankers, sequence to sequence and decoder-only: one answer token's logits make the score."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distillir.errors import ConfigError, ModelError
from distillir.rendering import RenderSettings
from distillir.students.backbone import quiet
from distillir.students.reranker_base import Reranker
from distillir.students.reranker_batch import Pairs
from distillir.students.reranker_prompt import PromptPairs, answer_token

Score = Literal["difference", "softmax", "token"]


@dataclass(frozen=True)
class LanguageRerankerSettings:
    """What a language reranker is besides its weights; saved with every checkpoint.

    Attributes:
        render: order, budget and length of the conversation.
        passage_length: tokens of a passage.
        score: "difference" z_true − z_false (TWOLAR, arXiv 2403.17759); "softmax" the probability of true against
            false (monoT5), the same order, but no two scores are more than 1 apart; "token" the logit of one word
            (RankT5).
        template: of the prompt, with {query} and {document}.
        separator: between the turns of a conversation.
        true, false: words of "difference" and "softmax". token: word of "token". Each is one token of the model.
    """

    render: RenderSettings = field(default_factory=lambda: RenderSettings(max_length=128))
    passage_length: int = 256
    score: Score = "difference"
    template: str = "Query: {query} Document: {document} Relevant:"
    separator: str = " |"
    true: str = "true"
    false: str = "false"
    token: str = "<extra_id_10>"  # noqa: S105 - a word of the vocabulary

    def __post_init__(self) -> None:
        if self.score not in get_args(Score):
            raise ConfigError(f"unknown score {self.score!r}", f"use one of {', '.join(get_args(Score))}")
        if self.passage_length < 1:
            raise ConfigError(f"passage_length is {self.passage_length}", "give at least 1")
        if self.score != "token" and self.true == self.false:
            raise ConfigError(f"true and false are both {self.true!r}", "give two words")


class LanguageReranker(Reranker):
    """A language model that says whether a passage answers a conversation; one step, nothing is generated.

    Args:
        model, tokenizer: as `load_language_model` gives them.
        settings: prompt, score, lengths.

    Raises:
        ModelError: a word that is not one token, or lengths that pass the model's positions.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: LanguageRerankerSettings | None = None,
    ) -> None:
        chosen = settings or LanguageRerankerSettings()
        self.seq2seq = bool(model.config.is_encoder_decoder)
        reader = PromptPairs(
            tokenizer,
            chosen.render,
            chosen.passage_length,
            template=chosen.template,
            separator=chosen.separator,
            left=not self.seq2seq,
        )
        words = (chosen.token,) if chosen.score == "token" else (chosen.true, chosen.false)
        answers = [answer_token(tokenizer, word) for word in words]
        if len(set(answers)) < len(answers):
            raise ModelError(f"{' and '.join(words)} are one token of this model", "choose other words")
        super().__init__(model, tokenizer, reader)
        self.settings = chosen
        self._answers = answers

    @classmethod
    def from_pretrained(cls, source: str | Path, settings: LanguageRerankerSettings | None = None) -> LanguageReranker:
        """Start from a language model, or re-open a saved student.

        Args:
            source: folder, model id, or a .gguf file.
            settings: None for a saved student, which brings its own.
        """
        from distillir.students.reranker_checkpoint import load_language_reranker  # it loads this class
        from distillir.students.student_folder import is_student

        if is_student(source):
            if settings is not None:
                raise ModelError(f"{source} is a saved student with settings of its own", "leave settings out")
            return load_language_reranker(source)
        return cls(*load_language_model(source), settings)

    def score_pairs(self, pairs: Pairs) -> Tensor:
        model: Any = self.model
        mask = pairs.mask.long()
        if self.seq2seq:
            first = torch.full_like(pairs.ids[:, :1], model.config.decoder_start_token_id)
            logits = model(input_ids=pairs.ids, attention_mask=mask, decoder_input_ids=first).logits  # (P, 1, V)
        else:
            places = (mask.cumsum(1) - 1).clamp(min=0)
            logits = model(
                input_ids=pairs.ids, attention_mask=mask, position_ids=places, use_cache=False, logits_to_keep=1
            ).logits  # (P, 1, V)
        answers = logits[:, -1, self._answers].float()  # (P, 2), or (P, 1) of one token
        if self.settings.score == "token":
            return cast(Tensor, answers[:, 0])
        difference = answers[:, 0] - answers[:, 1]
        return cast(Tensor, difference.sigmoid() if self.settings.score == "softmax" else difference)

    def save(self, folder: str | Path) -> None:
        """Save so that transformers and this class open it."""
        from distillir.students.reranker_checkpoint import save_language_reranker

        save_language_reranker(self, folder)

    def describe(self) -> dict[str, object]:
        """Settings as plain values, for records."""
        return asdict(self.settings)


def load_language_model(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model, decoder-only or sequence to sequence, and its tokenizer.

    Args:
        source: folder, model id, or a .gguf file (read to float32).

    Raises:
        ModelError: not found, no language model, or weights that are missing.
    """
    path = Path(source)
    gguf = path.suffix == ".gguf"
    place = str(path.parent) if gguf else str(source)
    where: dict[str, Any] = {"gguf_file": path.name} if gguf else {}
    safe: dict[str, Any] = {} if gguf else {"use_safetensors": True}
    try:
        with quiet():
            config = AutoConfig.from_pretrained(place, **where)
            tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(place, **where))
            kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            model, loading = kind.from_pretrained(place, output_loading_info=True, dtype=torch.float32, **where, **safe)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{source}: no language model could be loaded ({reason})",
            "give a folder or model id in safetensors format, or a .gguf file (with the package gguf)",
        ) from error
    if lost := sorted(loading["missing_keys"]):
        raise ModelError(
            f"{source}: the checkpoint has no trained weights for {', '.join(lost[:4])}",
            "use a decoder or a sequence-to-sequence model, not an encoder",
        )
    if gguf:  # read to float32, it is no quantised model any more
        model.hf_quantizer = None
        model.is_quantized = False
        model.config.__dict__.pop("quantization_config", None)
    model.train(False)
    return model, tokenizer
