"""Pointwise: does this document answer the question? The score is read off the logits of "yes" and "no".

Score "logit": log P(yes) − log P(no), unbounded, as TWOLAR takes it (arXiv 2403.17759: a softmax caps every margin).
Score "log_probability": log P(yes) of the two, monoT5's (Nogueira et al., 2020).
A cross-encoder is asked the same way; its score is its logit. See `distillir.teachers.cross_encoder`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from distillir.errors import ConfigError
from distillir.labels import Label, LabelRequest
from distillir.teachers.cross_encoder import Pair, log_sigmoid
from distillir.teachers.jobs import Job, one_call
from distillir.teachers.pairs import PARTS, Asked, likelihoods, score_lists
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.requests import Choose, Chosen, Model
from distillir.teachers.teacher import Candidates, Read
from distillir.teachers.texts import cut_words

FIELDS = ("query", "document")
PointwiseScore = Literal["logit", "log_probability"]


@dataclass(frozen=True)
class PointwiseSettings:
    """How documents are judged.

    Attributes:
        name: of the labels.
        prompt: "pointwise", or the path of a prompt with {query} and {document}; None for a cross-encoder, which is
            shown both as they are.
        yes, no: the words whose probabilities are compared; a single token each.
        words: of each document.
        score: "logit" or "log_probability".
    """

    name: str = "pointwise"
    prompt: str | Path | None = "pointwise"
    yes: str = "yes"
    no: str = "no"
    words: int = 200
    score: PointwiseScore = "logit"

    def __post_init__(self) -> None:
        if self.words < 1 or self.score not in ("logit", "log_probability"):
            raise ConfigError(f"{self}", "words is 1 or more, score is logit or log_probability")


@dataclass(frozen=True)
class Pointwise:
    """Makes "scores" labels of candidates.

    Raises:
        ConfigError: a prompt that cannot be used.
    """

    candidates: Sequence[Candidates]
    settings: PointwiseSettings = field(default_factory=PointwiseSettings)
    prompt: Prompt | None = field(init=False)

    def __post_init__(self) -> None:
        name = self.settings.prompt
        object.__setattr__(self, "prompt", None if name is None else load_prompt(name, FIELDS))

    @property
    def name(self) -> str:
        """Of the labels."""
        return self.settings.name

    @property
    def total(self) -> int:
        """Pairs and contexts."""
        return sum(len(given.texts) + 1 for given in self.candidates)

    @property
    def prompt_tokens(self) -> int:
        """Of the instructions."""
        return self.prompt.tokens if self.prompt else 0

    @property
    def reply_tokens(self) -> int:
        """One word."""
        return 1

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """All pairs, then the scores of each context."""
        how = self.settings

        def whole(given: Candidates) -> LabelRequest:
            documents = [[name, cut_words(text, how.words)] for name, text in given.texts.items()]
            asked = {"query": given.query, "documents": documents}
            parameters = {"words": [how.yes, how.no], "score": how.score}
            return LabelRequest(how.name, model.name, self._version, asked, parameters, context_id=given.context_id)

        def pairs(given: Candidates) -> list[Asked]:
            return [(name, [self._job(given, name, model)]) for name in given.texts]

        def formula(labels: Sequence[Label]) -> float:
            found = likelihoods(labels[0])
            margin = found[how.yes]["log_likelihood"] - found[how.no]["log_likelihood"]
            return margin if how.score == "logit" else log_sigmoid(margin)

        return score_lists(self.candidates, whole, pairs, formula, how.score, read)

    def guess(self, request: LabelRequest) -> Label | None:
        """A pair undecided."""
        how = self.settings
        half = [{"text": word, "log_likelihood": math.log(0.5)} for word in (how.yes, how.no)]
        return Label("responses", half, attempts=0) if request.teacher == f"{self.name}/{PARTS}" else None

    @property
    def _version(self) -> str:
        return self.prompt.version if self.prompt else "none"

    def _job(self, given: Candidates, name: str, model: Model) -> Job:
        how = self.settings
        asked = {"query": given.query, "document": cut_words(given.texts[name], how.words)}
        call: Choose | Pair = Pair(asked["query"], asked["document"])
        if self.prompt is not None:
            call = Choose(self.prompt.messages(asked), (how.yes, how.no))
        parameters = {"words": [how.yes, how.no], "max_tokens": 1}
        part, context = f"{self.name}/{PARTS}", f"{given.context_id}#{name}"
        request = LabelRequest(part, model.name, self._version, asked, parameters, context_id=context)

        def read(chosen: Chosen) -> Label:
            pair = zip((how.yes, how.no), chosen.logprobs, strict=True)
            value = [{"text": word, "log_likelihood": logprob} for word, logprob in pair]
            if len(chosen.bounded) == 2:
                why = "neither word is among the likely ones"
                return Label("responses", None, status="malformed", reason=why, scale="logprob")
            why = f"bounded ({chosen.bounded[0]})" if chosen.bounded else ""
            return Label("responses", value, status="repaired" if why else "ok", reason=why, scale="logprob")

        return one_call(request, call, read, model.bound(call))
