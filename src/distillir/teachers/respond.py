"""Respond: what a generator says to a context, several times, and how likely it finds each of its replies.

The generated candidates of G2R (arXiv 2108.12582). Equal replies are kept once, empty ones not at all. A reply that
was cut off ends with its last whole sentence and has no likelihood, as the model's was that of another text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distillir.data import Context
from distillir.errors import ConfigError
from distillir.labels import Label, LabelRequest
from distillir.labels.parsing import join_reasons
from distillir.teachers.jobs import Ask, Job
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.requests import Failure, Generate, Generated, Model, Usage
from distillir.teachers.teacher import Read, context_names
from distillir.teachers.texts import turns_of

SENTENCE = re.compile(r"[\s\S]*[.!?…。！？]['\"”’)]?(?=\s|$)")


@dataclass(frozen=True)
class RespondSettings:
    """How replies are made.

    Attributes:
        name: of the labels.
        prompt: "respond", or the path of a prompt: a system message, behind which the context follows as a chat.
        n: replies a context.
        beams: 0: sample; else the n best of a beam search of this width (local models only).
        temperature, seed: of the sampling; every reply has random numbers of its own.
        max_tokens: of a reply.
        exchanges: of the context, the latest; words: of each message.
    """

    name: str = "respond"
    prompt: str | Path = "respond"
    n: int = 4
    beams: int = 0
    temperature: float = 0.8
    seed: int | None = 0
    max_tokens: int = 64
    exchanges: int = 4
    words: int = 100

    def __post_init__(self) -> None:
        if min(self.n, self.max_tokens, self.exchanges, self.words) < 1 or (self.beams and self.beams < self.n):
            raise ConfigError(f"{self}", "n, tokens, exchanges and words are 1 or more, beams 0 or at least n")


@dataclass(frozen=True)
class Respond:
    """Makes "responses" labels of contexts; the most likely reply first.

    Some endpoints give one reply a call, whatever they are asked: once that is known, replies are asked for singly.

    Raises:
        ConfigError: a prompt that cannot be used.
        LabelError: two contexts of one id.
    """

    contexts: Sequence[Context]
    settings: RespondSettings = field(default_factory=RespondSettings)
    prompt: Prompt = field(init=False)
    _singly: list[bool] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        context_names(self.contexts)
        object.__setattr__(self, "prompt", load_prompt(self.settings.prompt, ()))

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
        """Of the instructions."""
        return self.prompt.tokens

    @property
    def reply_tokens(self) -> int:
        """A sentence or two, n times."""
        return self.settings.n * min(32, self.settings.max_tokens)

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """One round."""
        del read
        yield [self._job(context, model) for context in self.contexts]

    def guess(self, request: LabelRequest) -> Label | None:
        """There are no parts."""
        del request
        return None

    def _job(self, context: Context, model: Model) -> Job:
        how = self.settings
        turns = turns_of(context.conversation, how.exchanges, how.words)
        sampled: dict[str, Any] = {} if how.beams else {"temperature": how.temperature, "seed": how.seed}
        call = Generate(
            self.prompt.messages({}, turns), max_tokens=how.max_tokens, n=how.n, logprobs=True,
            beams=max(1, how.beams), **sampled,
        )  # fmt: skip
        parameters = {"n": how.n, "beams": how.beams, "max_tokens": how.n * how.max_tokens, **sampled}
        asked = [list(turn) for turn in turns]
        request = LabelRequest(how.name, model.name, self.prompt.version, asked, parameters, context_id=context.id)
        bound = model.bound(call)
        return Job(request, lambda ask: self._ask(ask, call), bound)

    async def _ask(self, ask: Ask, call: Generate) -> Label | Failure:
        """All replies of one call, where the endpoint gives several; else one by one."""
        if call.n > 1 and not self._singly:
            answer = await ask(call)
            unable = isinstance(answer, Failure) and answer.reason in ("refused", "malformed")
            if call.beams > 1 or not unable:
                return answer if isinstance(answer, Failure) else read_responses(answer)
            self._singly.append(True)
        said: list[Generated] = []
        for i in range(call.n):
            seed = None if call.seed is None else call.seed * call.n + i
            answer = await ask(replace(call, n=1, seed=seed))
            if isinstance(answer, Failure):
                return answer
            said.append(answer)
        return read_responses(_joined(said))


def _joined(said: Sequence[Generated]) -> Generated:
    """Several answers as one; likelihoods only where all have them."""
    told = all(one.likelihoods for one in said)
    return Generated(
        texts=tuple(text for one in said for text in one.texts),
        usage=sum((one.usage for one in said), Usage()),
        finish=tuple((*one.finish, "stop")[0] for one in said),
        likelihoods=tuple(pair for one in said for pair in one.likelihoods) if told else (),
    )


def read_responses(reply: Generated) -> Label:
    """The different replies with their likelihood per token, most likely first; those without one last."""
    found: dict[str, float | None] = {}
    faults: Counter[str] = Counter()
    likelihoods = reply.likelihoods or (None,) * len(reply.texts)
    finish = reply.finish or ("stop",) * len(reply.texts)
    for text, ended, likelihood in zip(reply.texts, finish, likelihoods, strict=True):
        said, whole = " ".join(text.split()), ended == "stop"
        if not whole:
            faults["cut off"] += 1
            match = SENTENCE.match(said)
            said = match[0] if match else ""
        if not said:
            faults["empty"] += 1
        elif said in found:
            faults["repeated"] += 1
        else:
            found[said] = likelihood.mean if whole and likelihood is not None and likelihood.tokens else None
    raw, why = "\n---\n".join(reply.texts), join_reasons(counts=faults)
    if not found:
        return Label("responses", None, raw, "malformed", reason=why, scale="logprob_per_token")
    ranked = sorted(found.items(), key=lambda pair: -1e30 if pair[1] is None else pair[1], reverse=True)
    value = [{"text": text} | ({} if mean is None else {"log_likelihood": mean}) for text, mean in ranked]
    return Label("responses", value, raw, "repaired" if why else "ok", reason=why, scale="logprob_per_token")
