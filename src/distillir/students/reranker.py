"""The encoder reranker: conversation and passage in one sequence, one logit out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distillir.errors import ConfigError, ModelError
from distillir.rendering import RenderSettings
from distillir.students.reranker_backbone import load_classifier
from distillir.students.reranker_base import Reranker
from distillir.students.reranker_batch import Pairs
from distillir.students.reranker_pairs import EncoderPairs


@dataclass(frozen=True)
class RerankerSettings:
    """What a reranker is besides its weights; saved with every checkpoint.

    Attributes:
        render: order, budget and length of the conversation's side; two of its tokens stand for specials.
        passage_length: tokens of a passage, specials aside.
    """

    render: RenderSettings = field(default_factory=lambda: RenderSettings(max_length=128))
    passage_length: int = 256

    def __post_init__(self) -> None:
        if self.passage_length < 1:
            raise ConfigError(f"passage_length is {self.passage_length}", "give at least 1")


class RerankerStudent(Reranker):
    """A cross-encoder: the logit of an `AutoModelForSequenceClassification` with one output.

    Args:
        model, tokenizer: as `load_classifier` gives them.
        settings: rendering and lengths.

    Raises:
        ModelError: the lengths asked for pass the model's positions, or the tokenizer joins no pairs.
    """

    reader: EncoderPairs

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: RerankerSettings | None = None
    ) -> None:
        self_settings = settings or RerankerSettings()
        super().__init__(model, tokenizer, EncoderPairs(tokenizer, self_settings.render, self_settings.passage_length))
        self.settings = self_settings

    @classmethod
    def from_pretrained(
        cls, source: str | Path, settings: RerankerSettings | None = None, seed: int = 0
    ) -> RerankerStudent:
        """Start from a cross-encoder or any encoder, or re-open a saved student.

        Args:
            source: folder or model id.
            settings: None for a saved student, which brings its own.
            seed: of the head, where the checkpoint has none.
        """
        from distillir.students.reranker_checkpoint import load_reranker_student  # it loads this class
        from distillir.students.student_folder import is_student

        if is_student(source):
            if settings is not None:
                raise ModelError(f"{source} is a saved student with settings of its own", "leave settings out")
            return load_reranker_student(source)
        return cls(*load_classifier(source, seed), settings)

    def score_pairs(self, pairs: Pairs) -> Tensor:
        more: dict[str, Any] = {"token_type_ids": pairs.types} if self.reader.typed else {}
        logits = cast(Any, self.model)(input_ids=pairs.ids, attention_mask=pairs.mask.long(), **more).logits  # (P, 1)
        scores: Tensor = logits[:, 0].float()
        return scores

    def save(self, folder: str | Path) -> None:
        """Save so that `sentence_transformers.CrossEncoder`, transformers and this class open it."""
        from distillir.students.reranker_checkpoint import save_reranker

        save_reranker(self, folder)

    def describe(self) -> dict[str, object]:
        """Settings as plain values, for records."""
        return asdict(self.settings)
