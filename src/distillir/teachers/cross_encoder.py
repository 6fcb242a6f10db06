"""A cross-encoder as the model of the pointwise teacher: one forward over question and document."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from distillir.errors import ConfigError, ModelError
from distillir.teachers.batching import Batcher
from distillir.teachers.in_process import InProcess, name_of
from distillir.teachers.quiet import quiet
from distillir.teachers.requests import A, Answer, Chosen, Failure, Pause, Question, Usage, pause


@dataclass(frozen=True)
class CrossEncoderSettings:
    """Which cross-encoder, and how it runs.

    Attributes:
        model: a folder or a model id; one output.
        batch: pairs that go through it at once.
        tokens: of question and document together; None: as many as the model takes.
        device: of torch.
    """

    model: str
    batch: int = 32
    tokens: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.model or self.batch < 1 or (self.tokens or 1) < 1:
            raise ConfigError(f"{self}", "name a model; batch and tokens are 1 or more")


@dataclass(frozen=True)
class Pair(Question[Chosen]):
    """Is the document relevant to the query? The answer holds log P of yes and of no."""

    query: str
    document: str

    def __post_init__(self) -> None:
        if not self.query.strip() or not self.document.strip():
            raise ConfigError("a pair with an empty text", "leave it out")


class CrossEncoderModel(InProcess[Pair, Chosen]):
    """A cross-encoder of sentence-transformers; see `Model`.

    It answers a `Pair`: log P of relevant and of not are log σ(logit) and log σ(−logit), so their difference, the
    pointwise teacher's score, is the logit itself. Nothing else can be asked.

    Raises:
        ModelError: on entering: no such model, one without a trained head, one with several outputs.
    """

    def __init__(self, settings: CrossEncoderSettings | str) -> None:
        self.settings = settings if isinstance(settings, CrossEncoderSettings) else CrossEncoderSettings(settings)
        self._encoder: Any = None
        super().__init__(self.settings.batch)

    def bound(self, question: Question[Answer]) -> Usage:
        """No tokenizer makes more tokens than there are bytes."""
        pair = _pair(question)
        return Usage(prompt_tokens=len(f"{pair.query}{pair.document}".encode("utf-8", "replace")) + 4, calls=1)

    async def ask(self, question: Question[A], *, pause: Pause = pause) -> A | Failure:
        """The answer, when its batch is done.

        Raises:
            ModelError: anything but a `Pair`.
        """
        del pause
        self._need_read()
        return cast("A | Failure", await self._batches.ask(_pair(question)))

    def _is_read(self) -> bool:
        return self._encoder is not None

    def _batcher(self) -> Batcher[Pair, Chosen]:
        return Batcher(self.settings.batch, lambda pair: "pair", self._answer)

    def _answer(self, pairs: Sequence[Pair]) -> Sequence[Chosen]:
        from torch.nn import Identity

        started = time.monotonic()
        texts = [(pair.query, pair.document) for pair in pairs]
        logits = self._encoder.predict(
            texts, batch_size=self.settings.batch, activation_fn=Identity(), show_progress_bar=False
        )
        each = (time.monotonic() - started) / len(pairs)
        answers = []
        for (query, document), logit in zip(texts, logits, strict=True):
            tokens = len(self._encoder.tokenizer(query, document, truncation=True).input_ids)
            told = log_sigmoid(float(logit)), log_sigmoid(-float(logit))
            answers.append(Chosen(told, Usage(tokens, 0, each, calls=1, attempts=1), self._name))
        return answers

    def _load(self) -> None:
        from sentence_transformers import CrossEncoder
        from transformers import AutoConfig

        asked = self.settings.model
        try:
            with quiet():
                config = AutoConfig.from_pretrained(asked)
                kinds = config.architectures or []
                # Loading any other checkpoint would give it a head of random numbers, and a warning at most.
                if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
                    raise ModelError(
                        f"{asked} is {kinds[0] if kinds else 'no known architecture'}, no cross-encoder",
                        "give one whose checkpoint ends in a classification head",
                    )
                self._encoder = CrossEncoder(
                    asked, max_length=self.settings.tokens, device=self.settings.device,
                    model_kwargs={"use_safetensors": True},
                )  # fmt: skip
        except (OSError, ValueError, KeyError) as error:
            told = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{asked} cannot be read as a cross-encoder: {told}", "give a folder or a model id"
            ) from None
        if config.num_labels != 1:
            self._encoder = None
            raise ModelError(f"{asked} has {config.num_labels} outputs", "give a cross-encoder with one score")
        self._name = name_of(asked, config)


def log_sigmoid(margin: float) -> float:
    """Log 1/(1 + e^−margin), without overflow."""
    return -math.log1p(math.exp(-margin)) if margin >= 0 else margin - math.log1p(math.exp(margin))


def _pair(question: object) -> Pair:
    if not isinstance(question, Pair):
        raise ModelError("a cross-encoder only judges pairs", "ask a language model, or use the pointwise teacher")
    return question
