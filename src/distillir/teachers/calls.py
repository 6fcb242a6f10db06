"""The calls of one job: set aside before, settled after, stopped where the run is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from distillir.labels import Label
from distillir.teachers.prices import Meter
from distillir.teachers.requests import A, Failure, Model, Question, Usage


class Calls:
    """Asks the model of a run for one job; see `Ask`.

    Args:
        model: to ask.
        meter: of the run.
        stop: set when nothing more is to be started.
        reserved: set aside for this job already.
        spent_up: called when the budget has no room for another attempt.

    Attributes:
        usage, cost: of all calls so far.
        reserved: set aside for this job; whoever made it settles it.
    """

    def __init__(
        self, model: Model, meter: Meter, stop: asyncio.Event, reserved: float, spent_up: Callable[[], None]
    ) -> None:
        self.usage, self.cost, self.reserved = Usage(), 0.0, reserved
        self._model, self._meter, self._stop, self._spent_up = model, meter, stop, spent_up
        self._model_id = ""

    async def ask(self, question: Question[A]) -> A | Failure:
        """The answer; a failure named "budget" where a further call could pass it."""
        bound = self._model.bound(question)
        price = self._meter.bound(bound)
        due = self.cost + price  # of it, what the job set aside is there already
        if not self._cover(due):
            return Failure("budget", f"{self._meter.budget.spent:.4g} spent, a further call could pass the budget")

        async def pause(seconds: float, lost: bool) -> bool:
            nonlocal due
            due += price if lost else 0.0
            if not self._cover(due):
                self._spent_up()
                return False
            try:
                await asyncio.wait_for(self._stop.wait(), seconds)
            except TimeoutError:
                return True
            return False

        answer = await self._model.ask(question, pause=pause)
        self.usage += answer.usage
        self.cost += self._meter.count(answer.usage, bound)
        if not isinstance(answer, Failure):
            self._model_id = answer.model_id or self._model_id
        return answer

    def sign(self, made: Label) -> Label:
        """The label with what was spent on it."""
        used = self.usage
        return replace(
            made, model_id=made.model_id or self._model_id, tokens_in=used.prompt_tokens,
            tokens_out=used.completion_tokens, seconds=used.seconds, cost=self.cost, attempts=used.attempts,
        )  # fmt: skip

    def _cover(self, due: float) -> bool:
        more = max(0.0, due - self.reserved)
        if more and not self._meter.budget.reserve(more):
            return False
        self.reserved += more
        return True
