"""What is asked of a large model and what comes back, whichever way it is reached.

    Generate  a chat → replies                                       endpoint, local
    Choose    a chat → log P of each word as the next one (yes/no)    endpoint, local
    Score     a prompt and a continuation → log P(continuation)       local

A model answers each question with its answer type or with a `Failure`: a value with a reason, never an exception,
so that one bad prompt costs one label and not a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from distillir.errors import ConfigError

Reason = Literal[
    "timeout",  # no answer in time
    "connection",  # refused, cut, or no such host
    "rate_limited",  # 429
    "server",  # 5xx
    "malformed",  # an answer that is no chat completion
    "refused",  # the request cannot succeed as it is: 400, 413, 422, ...
    "too_long",  # prompt and reply do not fit into the model's context
    "not_allowed",  # 401, 402, 403, 404: key, credit or model; nothing else would succeed either
    "teacher",  # the teacher could make no label of the reply
    "budget",  # a further call could have passed the budget
    "stopped",  # the run was ended before another attempt
]


class Message(NamedTuple):
    """One message of a chat: `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Usage:
    """What calls used. Usages add up.

    Attributes:
        prompt_tokens, completion_tokens: as the endpoint counts them; an upper bound where it says nothing.
        seconds: from sending to answer, waits included; a local batch is shared out evenly.
        calls: that were answered, or may have been worked on.
        attempts: calls made, those included that were turned away.
        lost: of the calls, those whose answer never arrived whole: possibly paid.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    calls: int = 0
    attempts: int = 0
    lost: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
            self.calls + other.calls,
            self.attempts + other.attempts,
            self.lost + other.lost,
        )


class Likelihood(NamedTuple):
    """log P of a text under the model at temperature 1, natural logarithm, and its number of tokens."""

    logprob: float
    tokens: int

    @property
    def mean(self) -> float:
        """Length-normalised: per token; not a number for a text without tokens."""
        return self.logprob / self.tokens if self.tokens else float("nan")


@dataclass(frozen=True)
class Generated:
    """Replies to a `Generate`, `n` of them.

    Attributes:
        texts: "" where the model said nothing.
        usage: of all replies together.
        model_id: what the model says it is.
        finish: why each ended: "stop", "length" (cut at max_tokens), "content_filter".
        likelihoods: log P of each reply, where `logprobs` was asked and the model tells; else empty.
    """

    texts: tuple[str, ...]
    usage: Usage
    model_id: str = ""
    finish: tuple[str, ...] = ()
    likelihoods: tuple[Likelihood, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """Answer to a `Choose`.

    Attributes:
        logprobs: of each word, in the order asked; the tokens that spell it with other capitals or blanks count.
        bounded: words the endpoint did not list among its most likely tokens: their value is an upper bound.
    """

    logprobs: tuple[float, ...]
    usage: Usage
    model_id: str = ""
    bounded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """Answer to a `Score`."""

    likelihood: Likelihood
    usage: Usage
    model_id: str = ""


@dataclass(frozen=True)
class Failure:
    """A question without an answer.

    Attributes:
        reason: one word, for counting.
        detail: what happened, with the server's own words; never holds the key.
        cure: what the reader can do.
        usage: spent all the same.
        ends_run: no other question would be answered either (a wrong key, an unknown model).
    """

    reason: Reason
    detail: str
    cure: str = ""
    usage: Usage = field(default_factory=Usage)
    ends_run: bool = False


A_co = TypeVar("A_co", bound=Generated | Chosen | Scored, covariant=True)


class Question(Generic[A_co]):
    """Anything a model can be asked; the parameter is the type of its answer."""


@dataclass(frozen=True)
class Generate(Question[Generated]):
    """n replies to a chat.

    Attributes:
        messages: the last one is the user's.
        max_tokens: of each reply.
        temperature: 0 = the most likely token each time.
        n: replies; their prompt is paid once.
        seed: of the sampling; reply i of n is drawn with a seed of its own. None: a new one each time.
        stop: texts at which a reply ends; they are not part of it.
        logprobs: whether the likelihood of each reply is wanted.
        beams: above 1: the n best of a beam search (local models only).
    """

    messages: tuple[Message, ...]
    max_tokens: int = 128
    temperature: float = 0.0
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    beams: int = 1

    def __post_init__(self) -> None:
        _check_chat(self.messages)
        if self.max_tokens < 1 or self.n < 1 or self.beams < 1:
            raise ConfigError(
                f"max_tokens {self.max_tokens}, n {self.n}, beams {self.beams}", "each is a number of 1 or more"
            )
        if not 0 <= self.temperature <= 5:
            raise ConfigError(f"temperature {self.temperature}", "give 0 (greedy) to 5")
        if self.beams > 1 and (self.temperature > 0 or self.n > self.beams):
            raise ConfigError(
                f"{self.beams} beams with temperature {self.temperature} and {self.n} replies",
                "a beam search does not sample, and returns at most as many replies as it has beams",
            )
        if self.n > 1 and self.beams == 1 and self.temperature == 0:
            raise ConfigError(f"{self.n} replies at temperature 0 are {self.n} times the same", "raise the temperature")
        if not all(self.stop):
            raise ConfigError("an empty stop text", "leave it out")


@dataclass(frozen=True)
class Choose(Question[Chosen]):
    """How likely is each of these words as the reply's first: `("yes", "no")`.

    A word's probability sums over the tokens that spell it in any capitals, with or without a leading blank.
    """

    messages: tuple[Message, ...]
    words: tuple[str, ...] = ("yes", "no")

    def __post_init__(self) -> None:
        _check_chat(self.messages)
        if len(self.words) < 2 or len({plain(word) for word in self.words}) < len(self.words) or not all(self.words):
            raise ConfigError(f"a choice between {self.words}", "give at least two words that differ")


@dataclass(frozen=True)
class Score(Question[Scored]):
    """Log-likelihood of a continuation.

    Attributes:
        prompt: a text, taken as it is; messages, laid out as a chat that the continuation answers; or "" for the
            likelihood of the continuation by itself.
        continuation: tokenised apart from the prompt; begin it with a blank where it goes on with a word.
    """

    prompt: str | tuple[Message, ...]
    continuation: str

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            _check_chat(self.prompt)
        if not self.continuation.strip():
            raise ConfigError("an empty continuation has no likelihood", "leave it out")


Answer = Generated | Chosen | Scored
A = TypeVar("A", bound=Answer)

Pause = Callable[[float, bool], Awaitable[bool]]
"""Called between two attempts with the seconds to wait and whether the failed one may have been paid; the answer
says whether there may be another attempt at all."""


async def pause(seconds: float, lost: bool) -> bool:
    """Wait, then try again, whatever it costs."""
    del lost
    await asyncio.sleep(seconds)
    return True


class Model(Protocol):
    """A large model, however it is reached. Open it with `async with`, ask as many questions at once as you like."""

    @property
    def name(self) -> str:
        """The exact model, with revision or file hash where there is one: `LabelRequest.model`."""

    @property
    def in_flight(self) -> int:
        """Questions worth asking at once."""

    async def ask(self, question: Question[A], *, pause: Pause = pause) -> A | Failure:
        """The answer, or a failure as a value. Raises only for a question this model can never answer."""

    def bound(self, question: Question[Answer]) -> Usage:
        """The most tokens one attempt at this question can use."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def chat(messages: Iterable[Mapping[str, str]]) -> tuple[Message, ...]:
    """OpenAI-style messages, as `Conversation.messages()` gives them."""
    return tuple(Message(message["role"], message["content"]) for message in messages)


def plain(word: str) -> str:
    """A word without what does not change its sense: blanks around it and capitals."""
    return word.strip().casefold()


def whole(text: str) -> str:
    """A text without half characters (lone surrogates), which neither a file nor a tokenizer could hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _check_chat(messages: tuple[Message, ...]) -> None:
    if not messages or messages[-1].role != "user":
        raise ConfigError("a chat without an open question", "its last message is the user's")
    for message in messages:
        if message.role not in ("system", "user", "assistant"):
            raise ConfigError(f"a message of role {message.role!r}", "use system, user or assistant")
