"""Likelihood: how well does a text explain another one?

    query       log P(query | document)                        Sachan et al., "Improving passage retrieval with
                                                               zero-shot question generation" (EMNLP 2022)
    response    log P(response | context)                      G2R (arXiv 2108.12582)
    mutual      log P(response | context) − λ log P(response)  Li et al., "A diversity-promoting objective function for
                                                               neural conversation models" (NAACL 2016); G2R

Per token unless `per_token` is False: the sum is divided by the number of tokens of the text that is scored. Natural
logarithms, temperature 1. Only a local model tells the likelihood of a given text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distillir.errors import ConfigError, LabelError
from distillir.labels import Label, LabelRequest
from distillir.teachers.jobs import Job, one_call
from distillir.teachers.pairs import PARTS, Asked, score_lists
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.prompts.prompt import fill
from distillir.teachers.requests import Message, Model, Score, Scored
from distillir.teachers.teacher import Candidates, Read, finite
from distillir.teachers.texts import cut_words, turns_of

Of = Literal["query", "response", "mutual"]
FIELDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {  # prompt, its fields, those of what is scored
    "query": ("query_likelihood", ("document",), ("query",)),
    "response": ("response_likelihood", (), ("response",)),
    "mutual": ("response_likelihood", (), ("response",)),
}


@dataclass(frozen=True)
class LikelihoodSettings:
    """What is scored, and how.

    Attributes:
        of: "query" given a document, "response" given the context, or their "mutual" information.
        name: of the labels.
        prompt: None: the packaged one of `of`; or a path.
        per_token: whether log P is divided by the number of tokens.
        prior: λ of "mutual".
        words: of each document, and of each message of a context. exchanges: of a context, the latest.
    """

    of: Of = "query"
    name: str = "likelihood"
    prompt: str | Path | None = None
    per_token: bool = True
    prior: float = 1.0
    words: int = 200
    exchanges: int = 4

    def __post_init__(self) -> None:
        if self.of not in FIELDS or min(self.words, self.exchanges) < 1 or not 0 <= self.prior <= 10:
            raise ConfigError(f"{self}", f"of is {', '.join(FIELDS)}; words and exchanges are 1 or more, prior 0 to 10")

    @property
    def scale(self) -> str:
        """Name of the scores' scale."""
        kind = "mutual_information" if self.of == "mutual" else "logprob"
        return f"{kind}_per_token" if self.per_token else kind


@dataclass(frozen=True)
class LikelihoodTeacher:
    """Makes "scores" labels of candidates: documents, or responses.

    Raises:
        ConfigError: a prompt that cannot be used.
        LabelError: responses are to be scored and a candidate list has no conversation.
    """

    candidates: Sequence[Candidates]
    settings: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    prompt: Prompt = field(init=False)

    def __post_init__(self) -> None:
        packaged, fields, scored = FIELDS[self.settings.of]
        object.__setattr__(self, "prompt", load_prompt(self.settings.prompt or packaged, fields, scored))
        lacking = [given.context_id for given in self.candidates if given.conversation is None]
        if lacking and self.settings.of != "query":
            raise LabelError(f"no conversation of context {lacking[0]!r}", "give `Candidates` the conversation")

    @property
    def name(self) -> str:
        """Of the labels."""
        return self.settings.name

    @property
    def total(self) -> int:
        """Pairs, contexts, and for mutual information each response by itself."""
        pairs = sum(len(given.texts) + 1 for given in self.candidates)
        if self.settings.of != "mutual":
            return pairs
        return pairs + len({text for given in self.candidates for text in given.texts.values()})

    @property
    def prompt_tokens(self) -> int:
        """Of the instructions."""
        return self.prompt.tokens

    @property
    def reply_tokens(self) -> int:
        """Nothing is generated."""
        return 0

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """All pairs, then the scores of each context."""
        how = self.settings

        def whole(given: Candidates) -> LabelRequest:
            parts = [[name, *self._asked(given, name)] for name in given.texts]
            parameters: dict[str, Any] = {"of": how.of, "per_token": how.per_token}
            parameters |= {"prior": how.prior} if how.of == "mutual" else {}
            return LabelRequest(
                how.name, model.name, self.prompt.version, parts, parameters, context_id=given.context_id
            )

        def pairs(given: Candidates) -> list[Asked]:
            return [(name, self._jobs(given, name, model)) for name in given.texts]

        return score_lists(self.candidates, whole, pairs, self.formula, how.scale, read)

    def guess(self, request: LabelRequest) -> Label | None:
        """A likelihood of 1."""
        if request.teacher != f"{self.name}/{PARTS}":
            return None
        return Label("responses", [{"text": "…", "log_likelihood": 0.0, "tokens": 1}], attempts=0)

    def formula(self, labels: Sequence[Label]) -> float:
        """Score of a pair; for "mutual" the second label is the response's by itself."""
        how, (first, *alone) = self.settings, [label.value[0] for label in labels]
        score = first["log_likelihood"] - (how.prior * alone[0]["log_likelihood"] if alone else 0.0)
        return float(score / first["tokens"] if how.per_token else score)

    def _asked(self, given: Candidates, name: str) -> tuple[str | tuple[Message, ...], str]:
        """What precedes the scored text, before the prompt is laid around it, and the scored text."""
        how, text = self.settings, given.texts[name]
        if how.of == "query" or given.conversation is None:
            return cut_words(text, how.words), fill(self.prompt.continuation, {"query": given.query})
        turns = turns_of(given.conversation, how.exchanges, how.words)
        return turns, fill(self.prompt.continuation, {"response": text})

    def _jobs(self, given: Candidates, name: str, model: Model) -> list[Job]:
        shown, scored = self._asked(given, name)
        before = self.prompt.before({"document": shown}) if isinstance(shown, str) else self.prompt.before({}, shown)
        jobs = [self._job(shown, Score(before, scored), f"{given.context_id}#{name}", model)]
        if self.settings.of == "mutual":
            jobs.append(self._job("", Score("", scored), "", model))
        return jobs

    def _job(self, shown: object, call: Score, context: str, model: Model) -> Job:
        asked, part = {"shown": shown, "scored": call.continuation}, f"{self.name}/{PARTS}"
        alone = call.prompt == ""
        parameters = {"max_tokens": 0, "alone": alone}
        request = LabelRequest(part, model.name, self.prompt.version, asked, parameters, context_id=context)

        def read(answer: Scored) -> Label:
            found = answer.likelihood
            if not found.tokens:
                return Label("responses", None, status="malformed", reason="no token to score", scale="logprob")
            value = [{"text": call.continuation, "log_likelihood": finite(found.logprob), "tokens": found.tokens}]
            return Label("responses", value, scale="logprob")

        return one_call(request, call, read, model.bound(call))
