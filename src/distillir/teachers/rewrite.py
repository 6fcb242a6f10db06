"""Rewrite: the open question of a context, made to stand alone.

One call a follow-up, none for a first turn. A reply that is no use (empty, cut off, a refusal, far too long, in another
script or language) falls back to the question as it was asked: repaired, with the reason "fallback" and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distillir.data import Context
from distillir.errors import ConfigError
from distillir.labels import Label, LabelRequest
from distillir.labels.audit.drift import drift
from distillir.labels.parsing import join_reasons, parse_rewrite
from distillir.labels.words import words
from distillir.teachers.jobs import Job, one_call
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.requests import Generate, Generated, Model
from distillir.teachers.teacher import Read, context_names, no_call
from distillir.teachers.texts import cut_words, history_lines

FALLBACK = "fallback"
FIRST_TURN = "first turn"
FIELDS = ("history", "question")


@dataclass(frozen=True)
class RewriteSettings:
    """How questions are rewritten.

    Attributes:
        name: of the labels, under which they are fused.
        prompt: "rewrite", or the path of a prompt with {history} and {question}.
        exchanges: of the history that the model sees, the latest.
        answer_words: of each message of the history; question_words: of the open question.
        max_tokens: of a reply.
        temperature, seed: of the sampling; the default is the most likely reply.
        long_words: a rewrite is too long above this many words
        long_ratio: and above this many times the question's.
    """

    name: str = "llm"
    prompt: str | Path = "rewrite"
    exchanges: int = 4
    answer_words: int = 60
    question_words: int = 100
    max_tokens: int = 64
    temperature: float = 0.0
    seed: int | None = None
    long_words: int = 40
    long_ratio: float = 3.0

    def __post_init__(self) -> None:
        if min(self.exchanges, self.answer_words, self.question_words, self.max_tokens, self.long_words) < 1:
            raise ConfigError(f"{self}", "exchanges, words and tokens are 1 or more")


@dataclass(frozen=True)
class Rewrite:
    """Makes "rewrite" labels of contexts.

    Raises:
        ConfigError: a prompt that cannot be used.
        LabelError: two contexts of one id.
    """

    contexts: Sequence[Context]
    settings: RewriteSettings = field(default_factory=RewriteSettings)
    prompt: Prompt = field(init=False)

    def __post_init__(self) -> None:
        context_names(self.contexts)
        object.__setattr__(self, "prompt", load_prompt(self.settings.prompt, FIELDS))

    @property
    def name(self) -> str:
        """Of the labels."""
        return self.settings.name

    @property
    def total(self) -> int:
        """A label a context."""
        return len(self.contexts)

    @property
    def prompt_tokens(self) -> int:
        """Of instructions and examples."""
        return self.prompt.tokens

    @property
    def reply_tokens(self) -> int:
        """A question's worth."""
        return 16

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """One round."""
        del read
        yield [self._job(context, model) for context in self.contexts]

    def guess(self, request: LabelRequest) -> Label | None:
        """There are no parts."""
        del request
        return None

    def _job(self, context: Context, model: Model) -> Job:
        how, conversation = self.settings, context.conversation
        history = history_lines(conversation, how.exchanges, how.answer_words)
        asked = {"history": history, "question": conversation.question}
        parameters: dict[str, float] = {"max_tokens": how.max_tokens, "temperature": how.temperature}
        parameters |= {} if how.seed is None else {"seed": how.seed}
        # The whole question is part of the key, as it may be the label; what is shown of it is a parameter.
        parameters |= {"question_words": how.question_words, "long_words": how.long_words, "long_ratio": how.long_ratio}
        request = LabelRequest(how.name, model.name, self.prompt.version, asked, parameters, context_id=context.id)
        if not history:
            return no_call(request, Label("rewrite", conversation.question, reason=FIRST_TURN, attempts=0))
        shown = asked | {"question": cut_words(conversation.question, how.question_words)}
        call = Generate(
            self.prompt.messages(shown), max_tokens=how.max_tokens, temperature=how.temperature, seed=how.seed
        )
        return one_call(request, call, lambda reply: self.read(context, reply), model.bound(call))

    def read(self, context: Context, reply: Generated) -> Label:
        """The label in a reply."""
        raw, finish = reply.texts[0], reply.finish[0] if reply.finish else "stop"
        question = context.conversation.question
        parsed = parse_rewrite(raw, finish=finish, question=question)
        why = parsed.reason if parsed.value is None else self.complaint(context, parsed.value)
        if parsed.value is None or why:
            return Label("rewrite", question, raw, "repaired", reason=join_reasons([FALLBACK, why]))
        return Label("rewrite", parsed.value, raw, parsed.status, reason=parsed.reason)

    def complaint(self, context: Context, rewrite: str) -> str:
        """Why a rewrite cannot be one of this question; "" if nothing speaks against it."""
        how, question = self.settings, context.conversation.question
        length = len(words(rewrite))
        if length > how.long_words and length > how.long_ratio * len(words(question)):
            return "too long"
        moved = drift(question, [exchange.question for exchange in context.conversation.exchanges], rewrite)
        return f"another language ({moved})" if moved else ""
