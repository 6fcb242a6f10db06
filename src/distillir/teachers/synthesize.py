"""Synthesize: conversations from a user's own documents, every turn grounded in a passage.

First each passage of a conversation is asked for one question that stands alone, and its answer; then, where the topic
goes on, that question is put as people would ask it at this point of the chat: with a pronoun, or half of it left out.
So the self-contained rewrite of a turn is there before the turn is, and knows nothing but its passage. Two rounds of
calls; a passage that several conversations visit is asked once.

A conversation walks from passage to passage: to a near one (`Passages.near`), or with the stated probability to any
other one, a topic switch, whose question stays as it is. Turns that fail a check are left out; what is left of a
conversation is kept from `least_turns` turns on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.errors import ConfigError
from distillir.labels import Label, LabelRequest, prompt_version
from distillir.labels.parsing import join_reasons
from distillir.teachers.grounding import GroundingLimits, read_follow_up, read_pair
from distillir.teachers.jobs import Job, one_call
from distillir.teachers.passages import Passages, Step, walks
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.requests import Generate, Generated, Model
from distillir.teachers.teacher import Read, no_call
from distillir.teachers.texts import cut_words

SYNTHETIC = "synthetic"
PAIRS, TURNS = "questions", "turns"  # parts: of a passage, and of a conversation
GUESS = "What does it say about the first of these things, and since when is it so?"


@dataclass(frozen=True)
class SynthesizeSettings:
    """How conversations are made.

    Attributes:
        name: of the labels, and of the rewrites in the contexts.
        prompt: "synthesize", or the path of a prompt with {document}.
        follow_up: "follow_up", or the path of a prompt with {history} and {question}.
        conversations: how many. turns: passages each visits.
        switch: probability that a turn leaves for any other passage.
        least_turns: conversations with fewer good turns are dropped.
        words: of a passage that the model sees.
        exchanges: of the history that the model sees, the latest.
        max_tokens: of a question with its answer; a follow-up may have half.
        temperature: of the sampling. seed: of the sampling and of the walk.
        limits: of the checks.
    """

    name: str = SYNTHETIC
    prompt: str | Path = "synthesize"
    follow_up: str | Path = "follow_up"
    conversations: int = 20
    turns: int = 4
    switch: float = 0.25
    least_turns: int = 2
    words: int = 250
    exchanges: int = 2
    max_tokens: int = 160
    temperature: float = 0.0
    seed: int = 0
    limits: GroundingLimits = field(default_factory=GroundingLimits)

    def __post_init__(self) -> None:
        least = min(self.conversations, self.turns, self.least_turns, self.words, self.exchanges, self.max_tokens // 2)
        if least < 1 or not 0 <= self.switch <= 1 or self.least_turns > self.turns:
            raise ConfigError(f"{self}", "numbers are 1 or more, switch is 0 to 1, least_turns at most turns")


class _Turn(NamedTuple):
    document: str
    goes_on: bool
    question: str
    answer: str


@dataclass(frozen=True)
class Synthesize:
    """Makes "conversation" labels of passages.

    Raises:
        ConfigError: a prompt that cannot be used.
        DataError: fewer passages than a conversation has turns.
    """

    passages: Passages
    settings: SynthesizeSettings = field(default_factory=SynthesizeSettings)
    prompt: Prompt = field(init=False)
    follow_up: Prompt = field(init=False)
    walks: tuple[tuple[Step, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        how = self.settings
        object.__setattr__(self, "prompt", load_prompt(how.prompt, ("document",)))
        object.__setattr__(self, "follow_up", load_prompt(how.follow_up, ("history", "question")))
        found = walks(self.passages, how.conversations, how.turns, how.switch, how.seed)
        object.__setattr__(self, "walks", found)

    @property
    def name(self) -> str:
        """Of the labels."""
        return self.settings.name

    @property
    def total(self) -> int:
        """Passages visited, turns that go on, conversations."""
        steps = [step for found in self.walks for step in found]
        return len({step.document for step in steps}) + sum(step.goes_on for step in steps) + len(self.walks)

    @property
    def prompt_tokens(self) -> int:
        """Of instructions and examples, the longer prompt's."""
        return max(self.prompt.tokens, self.follow_up.tokens)

    @property
    def reply_tokens(self) -> int:
        """A question and an answer."""
        return 48

    @property
    def version(self) -> str:
        """Of both prompts together: that of the conversations."""
        return prompt_version([self.prompt.version, self.follow_up.version])

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """Questions of all passages, follow-ups of all turns, then the conversations."""
        asked = {step.document: self._pair(step.document, model) for found in self.walks for step in found}
        yield list(asked.values())
        answered = {name: label for name, job in asked.items() if (label := read(job.request)) is not None}
        chains: dict[int, list[_Turn]] = {}
        for i, steps in enumerate(self.walks):
            if all(step.document in answered for step in steps):
                good = [(step, answered[step.document].value) for step in steps]
                chains[i] = _turns([(step, value["messages"]) for step, value in good if value is not None])
        jobs = {(i, k): self._turn(i, k, chain, model) for i, chain in chains.items() for k in _going(chain)}
        yield list(jobs.values())
        made = []
        for i, chain in chains.items():
            messages = {k: read(jobs[i, k].request) for k in _going(chain)}
            if all(message is not None for message in messages.values()):
                said = {k: message.value for k, message in messages.items() if message is not None}
                made.append(no_call(self._whole(i, model.name), self._label(chain, said)))
        yield made

    def guess(self, request: LabelRequest) -> Label | None:
        """A question and an answer, or a follow-up, of usual length."""
        if request.teacher == f"{self.name}/{PAIRS}":
            question = f"{GUESS} {request.input_hash}"  # no two passages have the same one
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": GUESS}]
            return Label("conversation", {"messages": messages}, attempts=0)
        return Label("response", GUESS, attempts=0) if request.teacher == f"{self.name}/{TURNS}" else None

    def _pair(self, document: str, model: Model) -> Job:
        """Question and answer of a passage."""
        how = self.settings
        passage = cut_words(self.passages.texts[document], how.words)
        asked = {"document": passage}
        call = Generate(
            self.prompt.messages(asked), max_tokens=how.max_tokens, temperature=how.temperature, seed=self._seed
        )
        request = LabelRequest(
            f"{self.name}/{PAIRS}",
            model.name,
            self.prompt.version,
            asked,
            self._how(how.max_tokens),
            context_id=document,
        )

        def read(reply: Generated) -> Label:
            return read_pair(reply.texts[0], (*reply.finish, "stop")[0], passage, how.limits)

        return one_call(request, call, read, model.bound(call))

    def _turn(self, i: int, k: int, chain: Sequence[_Turn], model: Model) -> Job:
        """The k-th question of a chain, put as a follow-up."""
        how, turn = self.settings, chain[k]
        before = [text for said in chain[max(0, k - how.exchanges) : k] for text in (said.question, said.answer)]
        speakers = ("User", "Assistant")
        history = "\n".join(f"{speakers[j % 2]}: {cut_words(text, 60)}" for j, text in enumerate(before))
        asked = {"history": history, "question": turn.question}
        most = how.max_tokens // 2
        call = Generate(self.follow_up.messages(asked), max_tokens=most, temperature=how.temperature, seed=self._seed)
        request = LabelRequest(
            f"{self.name}/{TURNS}", model.name, self.follow_up.version, asked, self._how(most),
            context_id=f"{self.conversation_id(i)}#{k + 1}",
        )  # fmt: skip

        def read(reply: Generated) -> Label:
            return read_follow_up(reply.texts[0], (*reply.finish, "stop")[0], turn.question, before, how.limits)

        return one_call(request, call, read, model.bound(call))

    def conversation_id(self, i: int) -> str:
        """Name of the i-th conversation."""
        return f"{self.name}-{self.settings.seed}-{i + 1}"

    @property
    def _seed(self) -> int | None:
        return self.settings.seed if self.settings.temperature else None

    def _how(self, most: int) -> dict[str, Any]:
        """What shapes a reply, and whether it is accepted."""
        how = self.settings
        sampled = {"temperature": how.temperature} | ({} if self._seed is None else {"seed": self._seed})
        return {"max_tokens": most, **sampled, "limits": asdict(how.limits)}

    def _whole(self, i: int, model: str) -> LabelRequest:
        how = self.settings
        passages = [[step.document, cut_words(self.passages.texts[step.document], how.words)] for step in self.walks[i]]
        asked = {"passages": passages, "goes_on": [step.goes_on for step in self.walks[i]]}
        parameters = {**self._how(how.max_tokens), "exchanges": how.exchanges, "least_turns": how.least_turns}
        return LabelRequest(self.name, model, self.version, asked, parameters, context_id=self.conversation_id(i))

    def _label(self, chain: Sequence[_Turn], said: Mapping[int, str]) -> Label:
        lost = self.settings.turns - len(chain)
        why = join_reasons(counts={"turns left out": lost})
        if len(chain) < self.settings.least_turns:
            return Label("conversation", None, status="malformed", reason=why, attempts=0)
        messages = []
        for k, turn in enumerate(chain):
            messages += [{"role": "user", "content": said.get(k, turn.question)}]
            messages += [{"role": "assistant", "content": turn.answer}]
        value = {
            "messages": messages,
            "rewrites": [turn.question for turn in chain],
            "documents": [turn.document for turn in chain],
            "goes_on": [k in said for k in range(len(chain))],
        }
        return Label("conversation", value, status="repaired" if why else "ok", reason=why, attempts=0)


def _turns(found: Sequence[tuple[Step, Sequence[Mapping[str, str]]]]) -> list[_Turn]:
    """The turns of a chain; the first one goes on from nothing."""
    return [
        _Turn(step.document, step.goes_on and k > 0, messages[0]["content"], messages[1]["content"])
        for k, (step, messages) in enumerate(found)
    ]


def _going(chain: Sequence[_Turn]) -> list[int]:
    return [k for k, turn in enumerate(chain) if turn.goes_on]


def synthetic_contexts(
    conversations: Mapping[str, Mapping[str, Any]], name: str = SYNTHETIC, domain: str = ""
) -> list[Context]:
    """Every turn of synthetic conversations as a context: its rewrite under the teacher `name`, its passage relevant.

    Args:
        conversations: conversation id → value of its label, as `store.values(name, "conversation")` gives them.
        name: of the teacher.
        domain: corpus the passages are of.
    """
    contexts = []
    for group, value in conversations.items():
        turns = zip(value["rewrites"], value["documents"], strict=True)
        for k, (rewrite, document) in enumerate(turns):
            context = f"{group}#{k + 1}"
            conversation = Conversation.from_messages(value["messages"][: 2 * k + 1], id=context)
            contexts.append(
                Context(context, conversation, group, {name: rewrite}, {document: 1}, source=SYNTHETIC, domain=domain)
            )
    return contexts
