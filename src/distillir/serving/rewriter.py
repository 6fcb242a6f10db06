"""The language model that rewrites questions today: what the student is compared with, and falls back to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.teachers import Endpoint, EndpointSettings, Failure, Prices, Question, Retry, Rewrite, RewriteSettings
from distillir.teachers.requests import A, Usage


@dataclass(frozen=True)
class Rewritten:
    """A question that stands alone, and what it took.

    Attributes:
        text: "" where there is none; failure: why.
        seconds: from asking to reply. cost: in the currency of the prices.
    """

    text: str
    seconds: float
    usage: Usage
    cost: float
    failure: str = ""


class Rewriter:
    """Asks an OpenAI-compatible endpoint, once a question: whoever waits for a reply does not wait for retries.

    Args:
        endpoint: where and which model; holds no key, only the name of its variable.
        settings: prompt and lengths, as `distillir label rewrite` has them.
        prices: of the endpoint.
    """

    def __init__(
        self, endpoint: EndpointSettings, settings: RewriteSettings | None = None, prices: Prices | None = None
    ) -> None:
        self._endpoint = Endpoint(endpoint)
        self._settings = settings or RewriteSettings()
        self.prices = prices or Prices()

    @classmethod
    def at(cls, url: str, model: str, key_env: str, timeout: float, prices: Prices | None = None) -> Rewriter:
        """The rewriter behind a URL."""
        return cls(
            EndpointSettings(
                model, base_url=url, key_env=key_env or None, read=timeout, total=timeout, retry=Retry(attempts=1)
            ),
            prices=prices,
        )

    @property
    def name(self) -> str:
        """The model."""
        return self._endpoint.name

    async def rewrite(self, chat: Conversation) -> Rewritten:
        """The open question, made to stand alone; a first turn does already, and nobody is asked."""
        teacher = Rewrite([Context("request", chat)], self._settings)
        (job,) = next(iter(teacher.plan(self._endpoint, lambda request: None)))
        usage = Usage()

        async def ask(question: Question[A]) -> A | Failure:
            nonlocal usage
            answer = await self._endpoint.ask(question)
            usage += answer.usage
            return answer

        begun = time.perf_counter()
        label = await job.work(ask)
        seconds = time.perf_counter() - begun
        cost = self.prices.cost(usage)
        if isinstance(label, Failure):
            return Rewritten("", seconds, usage, cost, f"{label.reason}: {label.detail}")
        return Rewritten(str(label.value), seconds, usage, cost)

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._endpoint.__aexit__(kind, error, trace)
