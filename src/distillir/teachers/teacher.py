"""What all teachers are: rounds of jobs, each round built on the labels of the one before.

A teacher that needs several calls for one label (windows of a list, pairs of a ranking, turns of a conversation) keeps
each as a label of its own, a part, and makes the whole of the parts without a call. So nothing is asked twice,
whenever a run is stopped, and every reply stays readable. Parts are labels of the teacher `NAME/PARTS`.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.errors import LabelError
from distillir.labels import Estimate, Label, LabelRequest, LabelStore, Price, estimate
from distillir.labels.reader import LabelReader
from distillir.teachers.jobs import Ask, Job
from distillir.teachers.progress import Outcome, Progress
from distillir.teachers.requests import A, Answer, Failure, Model, Pause, Question, Usage, pause
from distillir.teachers.runner import RunSettings, label_async

Read = Callable[[LabelRequest], Label | None]
"""The label of a request, None while it has none."""

BLOCK = 200


class Teacher(Protocol):
    """A way of asking a large model for labels.

    Attributes:
        name: of its labels in the store.
        total: labels it makes if nothing fails, parts included.
        prompt_tokens: about how many the prompt has besides the input; reply_tokens: of a reply.
    """

    @property
    def name(self) -> str: ...
    @property
    def total(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def reply_tokens(self) -> int: ...

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """Jobs in rounds; `read` knows the labels of the earlier ones, as far as they were made."""

    def guess(self, request: LabelRequest) -> Label | None:
        """What the label of a part could look like: stands in for it in an estimate. None for a whole."""


@dataclass(frozen=True)
class Candidates:
    """What is ordered or scored for one context.

    Attributes:
        context_id: of the context.
        query: what they are to answer: the open question, or its rewrite.
        texts: document id → text, in the order of the retriever.
        conversation: the context itself, for the likelihood of responses.
    """

    context_id: str
    query: str
    texts: Mapping[str, str]
    conversation: Conversation | None = None

    def __post_init__(self) -> None:
        if not self.texts or not self.query.strip():
            raise LabelError(
                f"context {self.context_id!r} has {len(self.texts)} candidates and the query {self.query!r}",
                "give a question and at least one document",
            )


def teach(
    teacher: Teacher,
    model: Model,
    store: LabelStore,
    settings: RunSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Make a teacher's labels, as far as the store lacks them.

    Args:
        teacher: whose labels.
        model: to ask; opened and closed here.
        store: to commit to.
        settings: None: the defaults. The budget is one for all rounds.
        progress: called after every commit and failure.

    Raises:
        ModelError, LabelError: see `label`.
        KeyboardInterrupt: after Ctrl-C; what was committed stays.
    """
    outcome = asyncio.run(teach_async(teacher, model, store, settings, progress))
    if outcome.stopped == "interrupted":
        raise KeyboardInterrupt
    return outcome


async def teach_async(
    teacher: Teacher,
    model: Model,
    store: LabelStore,
    settings: RunSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """As `teach`, where an event loop runs already; after Ctrl-C `Outcome.stopped` is "interrupted"."""
    settings = settings or RunSettings()
    done = Progress(0, 0, currency=settings.prices.currency)
    failures: Counter[str] = Counter()
    usage, twice = Usage(), 0
    total = teacher.total

    def joined(now: Progress) -> Progress:
        seen = done.total + now.total
        return replace(
            now, total=max(total, seen), stored=done.stored + now.stored, done=done.done + now.done,
            malformed=done.malformed + now.malformed, failed=done.failed + now.failed,
            seconds=done.seconds + now.seconds, spent=done.spent + now.spent,
        )  # fmt: skip

    def tell(now: Progress) -> None:
        if progress is not None:
            progress(joined(now))

    async with model:
        opened = _Opened(model)
        for jobs in teacher.plan(opened, lambda request: store.get(request.key)):
            left = None if settings.budget is None else max(0.0, settings.budget - done.spent)
            outcome = await label_async(jobs, opened, store, replace(settings, budget=left), tell)
            seen = done.total + outcome.progress.total
            done = replace(joined(outcome.progress), total=seen)
            failures += outcome.failures
            usage, twice = usage + outcome.usage, twice + outcome.twice
            if outcome.stopped != "done":
                return Outcome(outcome.stopped, replace(done, total=max(total, seen)), failures, usage, twice)
    return Outcome("done", done, failures, usage, twice)


def estimate_teacher(
    teacher: Teacher,
    model: str,
    store: LabelReader | None = None,
    *,
    price: Price | None = None,
    tokens: Callable[[str], int] | None = None,
) -> Estimate:
    """What a teacher's calls will take, before anything is asked. Where a round builds on replies that are not there
    yet, likely ones stand in for them, so the calls of later rounds are about right and not exact.

    Args:
        teacher: whose labels.
        model: its name: with it the store knows what is answered already.
        store: of labels; None: nothing is answered yet.
        price: of the provider.
        tokens: counts a text's tokens; None: a rule of thumb.
    """

    def read(request: LabelRequest) -> Label | None:
        return (store.get(request.key) if store is not None else None) or teacher.guess(request)

    rounds = teacher.plan(_OnPaper(model), read)
    requests = [job.request for jobs in rounds for job in jobs if job.bound.calls]
    return estimate(
        requests, store, price=price, tokens=tokens, prompt_tokens=teacher.prompt_tokens,
        reply_tokens=teacher.reply_tokens,
    )  # fmt: skip


def made_labels(teacher: Teacher, model: str, store: LabelReader) -> dict[str, Label]:
    """Context → the label that a teacher, set as it is, made of it with this model; those that are not there yet are
    left out. Labels of other settings in the same store are not looked at."""

    def read(request: LabelRequest) -> Label | None:
        return store.get(request.key)

    rounds = teacher.plan(_OnPaper(model), read)
    wholes = [job.request for jobs in rounds for job in jobs if job.request.teacher == teacher.name]
    found = ((request.context_id, read(request)) for request in wholes)
    return {context: label for context, label in found if label is not None}


def no_call(request: LabelRequest, made: Label) -> Job:
    """The job of a label that nobody need be asked for."""

    async def work(ask: Ask) -> Label:
        del ask
        return made

    return Job(request, work)


def blocks(lists: Sequence[Candidates]) -> Iterator[Sequence[Candidates]]:
    """Some hundred lists at a time: prompts of more need not lie in memory at once."""
    return (lists[start : start + BLOCK] for start in range(0, len(lists), BLOCK))


def context_names(contexts: Sequence[Context]) -> None:
    """Refuse two contexts of one name: their labels could not be told apart.

    Raises:
        LabelError: naming the id.
    """
    twice = [name for name, number in Counter(context.id for context in contexts).items() if number > 1]
    if twice:
        raise LabelError(f"two contexts are called {twice[0]!r}", "give each an id of its own")


def finite(value: float) -> float:
    """A score that can be stored.

    Raises:
        LabelError: not a number, or infinite.
    """
    if not math.isfinite(value):
        raise LabelError(f"the model gave the score {value}", "look at its number format and at the text")
    return value


class _Opened:
    """A model that stays open over several runs."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def in_flight(self) -> int:
        return self._model.in_flight

    async def ask(self, question: Question[A], *, pause: Pause = pause) -> A | Failure:
        return await self._model.ask(question, pause=pause)

    def bound(self, question: Question[Answer]) -> Usage:
        return self._model.bound(question)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class _OnPaper(_Opened):
    """Only the name of a model: enough to plan with."""

    def __init__(self, name: str) -> None:
        self._named = name

    @property
    def name(self) -> str:
        return self._named

    def bound(self, question: Question[Answer]) -> Usage:
        del question
        return Usage(calls=1)
