"""One label to be made: what it is called in the store, and how a model is asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from distillir.labels import Label, LabelRequest
from distillir.teachers.requests import A, Failure, Question, Usage


class Ask(Protocol):
    """Asks the model of the run; every call is counted and paid for."""

    async def __call__(self, question: Question[A]) -> A | Failure:
        """The answer, or a failure, which the job usually returns as it is."""


@dataclass(frozen=True)
class Job:
    """One label.

    Attributes:
        request: its name in the store; `request.model` is the model's `name`.
        work: asks, once or several times one after another, and makes the label; tokens, time, cost, attempts and
            model id are filled in afterwards. A DistillirError it raises fails this job alone; anything else is a bug
            and ends the run.
        bound: most usage of all its calls: set aside before it starts.
    """

    request: LabelRequest
    work: Callable[[Ask], Awaitable[Label | Failure]]
    bound: Usage = field(default_factory=Usage)


def one_call(request: LabelRequest, question: Question[A], read: Callable[[A], Label | Failure], bound: Usage) -> Job:
    """The job whose label is read from one answer.

    Args:
        request: its name in the store.
        question: to be asked.
        read: makes the label of the answer, a malformed one where need be.
        bound: `model.bound(question)`.
    """

    async def work(ask: Ask) -> Label | Failure:
        answer = await ask(question)
        return answer if isinstance(answer, Failure) else read(answer)

    return Job(request, work, bound)
