"""Any OpenAI-compatible endpoint: a hosted model, vLLM, llama.cpp, or the server of `distillir.teachers.server`."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from urllib.parse import urlsplit

from distillir.errors import ConfigError, MissingDependencyError, ModelError
from distillir.teachers.completions import MalformedError, body_of, read_chosen, read_generated
from distillir.teachers.faults import Fault, of_status, without
from distillir.teachers.requests import A, Answer, Choose, Failure, Generate, Pause, Question, Usage, pause, whole
from distillir.teachers.retry import Retry, retry_after

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Read = Callable[[Mapping[str, Any]], Answer]

DEFAULT_URL = "https://api.openai.com/v1"
LISTED = 20  # most likely tokens an endpoint lists at most
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MESSAGE_TOKENS = 16  # role and separators of one message, more than any template writes


@dataclass(frozen=True)
class EndpointSettings:
    """How to reach an endpoint. Holds no key: only the name of the variable it is in.

    Attributes:
        model: as the endpoint calls it.
        base_url: up to and with "/v1"; None: from the environment variable `base_url_env`, else OpenAI's own.
        base_url_env, key_env: names of environment variables. `key_env` None: no key is sent.
        in_flight: questions asked at once.
        connect, read, total: seconds to connect, between two pieces of an answer, and for one attempt in all.
        retry: attempts and waits.
        reply_limit: what the endpoint calls the most tokens of a reply; OpenAI's newer models know only the second.
        extra: further fields of every request, e.g. {"top_p": 0.9}; part of the label's parameters, if the recipe's
            author puts them there.
    """

    model: str
    base_url: str | None = None
    base_url_env: str = "OPENAI_BASE_URL"
    key_env: str | None = "OPENAI_API_KEY"
    in_flight: int = 8
    connect: float = 10.0
    read: float = 120.0
    total: float = 300.0
    retry: Retry = field(default_factory=Retry)
    reply_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("an endpoint without a model", "name the model as the endpoint calls it")
        if self.in_flight < 1 or min(self.connect, self.read, self.total) <= 0:
            raise ConfigError(
                f"in_flight {self.in_flight}, time-outs {self.connect}, {self.read}, {self.total}",
                "ask at least one at once, and give times above 0 seconds",
            )
        if self.base_url is not None:
            _check_url(self.base_url, "base_url")

    @property
    def url(self) -> str:
        """The base URL in force.

        Raises:
            ConfigError: no URL, or one that carries a password or key.
        """
        url = self.base_url or os.environ.get(self.base_url_env) or DEFAULT_URL
        _check_url(url, "base_url" if self.base_url else self.base_url_env)
        return url

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        return urlsplit(self.url).hostname in LOOPBACK


class Endpoint:
    """A model behind an OpenAI-compatible endpoint; see `Model`.

    Temporary faults (429, 5xx, time-outs, cut connections, broken answers) are tried again; when the server names a
    time to wait, all calls wait. Faults that would repeat are given up at once.

    Raises:
        ConfigError: on entering: no key in the environment, though the endpoint is not on this machine.
        MissingDependencyError: on entering: the `openai` package is not installed.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._client: AsyncOpenAI | None = None
        self._secret: str | None = None
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._not_before = 0.0

    @property
    def name(self) -> str:
        """The model as the endpoint calls it."""
        return self.settings.model

    @property
    def in_flight(self) -> int:
        """Questions asked at once."""
        return self.settings.in_flight

    async def __aenter__(self) -> Self:
        settings = self.settings
        self._secret = _key(settings)
        try:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout
        except ModuleNotFoundError:
            raise MissingDependencyError("openai", "teachers") from None
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._client = AsyncOpenAI(
            api_key=self._secret or "none",
            base_url=settings.url,
            max_retries=0,  # retries are ours: they are counted, budgeted and stopped
            timeout=Timeout(settings.total, connect=settings.connect, read=settings.read),
            # A proxy of the environment cannot reach this machine's own loopback.
            http_client=DefaultAsyncHttpxClient(trust_env=not settings.local),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client, self._secret = self._client, None, None
        if client is not None:
            await client.close()

    def bound(self, question: Question[Answer]) -> Usage:
        """No tokenizer makes more tokens than there are bytes."""
        if isinstance(question, Generate | Choose):
            size = sum(len(m.content.encode("utf-8", "replace")) + MESSAGE_TOKENS for m in question.messages)
            reply = question.n * question.max_tokens if isinstance(question, Generate) else 1
            return Usage(size, reply, calls=1)
        raise _unsupported(question)

    async def ask(self, question: Question[A], *, pause: Pause = pause) -> A | Failure:
        """The answer, or what stood in its way after all attempts.

        Raises:
            ModelError: a `Score`, or a beam search: no chat endpoint offers them.
        """
        if isinstance(question, Generate) and question.beams == 1:
            read: Read = partial(read_generated, question=question, bound=self.bound(question))
        elif isinstance(question, Choose):
            read = partial(read_chosen, question=question, bound=self.bound(question))
        else:
            raise _unsupported(question)
        async with self._slots:
            return cast("A | Failure", await self._tries(self._fields(question), read, pause))

    def _fields(self, question: Generate | Choose) -> dict[str, Any]:
        limit = self.settings.reply_limit
        fields: dict[str, Any] = {
            "model": self.settings.model,
            "messages": [{"role": message.role, "content": whole(message.content)} for message in question.messages],
        }
        if isinstance(question, Choose):
            fields |= {limit: 1, "temperature": 0.0, "logprobs": True, "top_logprobs": LISTED}
        else:
            fields |= {limit: question.max_tokens, "temperature": question.temperature}
            fields |= {"n": question.n} if question.n > 1 else {}
            fields |= {"seed": question.seed} if question.seed is not None else {}
            fields |= {"stop": list(question.stop)} if question.stop else {}
            fields |= {"logprobs": True} if question.logprobs else {}
        return fields | dict(self.settings.extra)

    async def _tries(self, fields: dict[str, Any], read: Read, pause: Pause) -> Answer | Failure:
        started, failed, lost = time.monotonic(), 0, 0
        fault: Fault | None = None
        wait: float | None = 0.0
        while wait is not None:
            wait = max(wait, self._held_back())
            if (wait or fault) and not await pause(wait, fault is not None and fault.lost):
                fault = replace(fault or Fault("stopped", "the server asked for a pause"), reason="stopped")
                break
            found = await self._try(fields, read)
            if not isinstance(found, Fault):
                spent = Usage(seconds=time.monotonic() - started, calls=1 + lost, attempts=failed + 1, lost=lost)
                return replace(found, usage=found.usage + spent)
            fault, failed, lost = found, failed + 1, lost + found.lost
            wait = self.settings.retry.wait(failed, fault.wait) if fault.again else None
            if wait is not None and fault.wait:
                self._not_before = max(self._not_before, time.monotonic() + fault.wait)
        fault = fault or Fault("stopped", "")
        spent = Usage(seconds=time.monotonic() - started, calls=lost, attempts=failed, lost=lost)
        detail = f"{fault.detail} ({failed} attempts)" if failed > 1 else fault.detail
        return Failure(fault.reason, detail, fault.cure, spent, fault.ends_run)

    def _held_back(self) -> float:
        """Seconds in which the server wants no calls: it may have said so to another one."""
        left = self._not_before - time.monotonic()
        return left + random.random() * self.settings.retry.first if left > 0 else 0.0

    async def _try(self, fields: dict[str, Any], read: Read) -> Answer | Fault:
        """One attempt."""
        if self._client is None:
            raise ModelError("the endpoint is not open", "use it in `async with endpoint:`")
        from httpx2 import Response
        from openai import APIConnectionError, APIStatusError

        settings = self.settings
        try:
            async with asyncio.timeout(settings.total):
                # Typed parameters and results would cost milliseconds a call, and the answer is checked here anyway.
                response = await self._client.post("/chat/completions", cast_to=Response, body=fields)
            return read(body_of(self._clean(response.text)))
        except MalformedError as error:
            return Fault("malformed", str(error), "check base URL and model", again=error.again, lost=True)
        except APIStatusError as error:
            text, wait = self._clean(error.response.text), retry_after(error.response.headers)
            return of_status(error.status_code, text, settings.model, settings.key_env if self._secret else None, wait)
        except (TimeoutError, APIConnectionError) as error:
            return self._unanswered(error)

    def _unanswered(self, error: Exception) -> Fault:
        """A time-out or a broken connection; before the connection stood, nothing was asked and nothing is paid."""
        cause = error.__cause__ or error
        kind = type(cause).__name__
        sent = kind not in ("ConnectError", "ConnectTimeout", "PoolTimeout")
        settings = self.settings
        if isinstance(error, TimeoutError) or "Timeout" in kind:
            detail = f"no answer in time ({kind}: connect {settings.connect:g} s, read {settings.read:g} s, "
            detail += f"total {settings.total:g} s)"
            return Fault("timeout", detail, "raise the time-outs, or lower in_flight", again=True, lost=sent)
        return Fault("connection", self._clean(f"{kind}: {cause}"), f"is {settings.url} up?", again=True, lost=sent)

    def _clean(self, text: str) -> str:
        return without(text, self._secret)


def _key(settings: EndpointSettings) -> str | None:
    if settings.key_env is None:
        return None
    key = os.environ.get(settings.key_env, "").strip()
    if not key and not settings.local:
        raise ConfigError(
            f"{settings.key_env} is not set", f"export {settings.key_env}=… (or key_env: null, if none is needed)"
        )
    return key or None


def _check_url(url: str, where: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{where} is no web address", "give it like http://127.0.0.1:8080/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigError(f"{where} carries a password or a query", "put the key into the environment instead")


def _unsupported(question: object) -> ModelError:
    what = "a beam search" if isinstance(question, Generate) else "the likelihood of a given text"
    return ModelError(f"a chat endpoint has no way to ask for {what}", "use a local model (LocalModel)")
