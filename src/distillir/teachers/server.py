"""Quantised GGUF models behind an OpenAI-compatible server on this machine, started and stopped for the user.

with LlamaServer(ServerSettings("qwen2.5-coder-1.5b")) as server:
    endpoint = Endpoint(server.endpoint())
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from distillir.errors import ConfigError, MissingDependencyError, ModelError
from distillir.teachers.endpoint import EndpointSettings
from distillir.teachers.packaged_llm import PACKAGED_LLMS, gguf_of, sha256_of
from distillir.teachers.retry import Retry

LAST = 800  # characters of the server's log that an error quotes


@dataclass(frozen=True)
class ServerSettings:
    """Which model is served, and how.

    Attributes:
        model: a GGUF file, or a packaged model ("smollm2-135m", "qwen2.5-coder-1.5b").
        context: tokens of prompt and reply together.
        slots: requests worked on at once; each has a context of its own in memory.
        threads: of the processor; None: llama.cpp decides.
        patience: seconds until the server must be up.
    """

    model: str
    context: int = 4096
    slots: int = 2
    threads: int | None = None
    patience: float = 120.0

    def __post_init__(self) -> None:
        threads = 1 if self.threads is None else self.threads
        if not self.model or min(self.context, self.slots, threads) < 1 or self.patience <= 0:
            raise ConfigError(f"{self}", "name a model; context, slots, threads and patience are 1 or more")


class LlamaServer:
    """llama.cpp's own server in a child process; a context manager.

    The child ends when this process does, however that ends: it waits for the end of a pipe.

    Raises:
        ModelError: on entering: no such GGUF file, or it could not be served; the server's last words are quoted.
        MissingDependencyError: on entering: xllamacpp is not installed.
    """

    def __init__(self, settings: ServerSettings | str) -> None:
        self.settings = settings if isinstance(settings, ServerSettings) else ServerSettings(settings)
        self.name = ""
        self.url = ""
        self._child: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Self:
        if find_spec("xllamacpp") is None:
            raise MissingDependencyError("xllamacpp", "local-llm")
        asked = self.settings.model
        path = gguf_of(asked)
        digest = PACKAGED_LLMS[asked].sha256 if asked in PACKAGED_LLMS else sha256_of(path)
        self.name = f"{asked if asked in PACKAGED_LLMS else path.stem}@{digest[:8]}"
        try:
            self._start(path)
        except BaseException:
            if self._child is not None:
                self._child.kill()
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Of the server's process; None while there is none."""
        return self._child.pid if self._child else None

    def endpoint(self) -> EndpointSettings:
        """How to reach it: no key, as many questions at once as it has slots and one waiting for each."""
        return EndpointSettings(
            self.name,
            base_url=f"{self.url}/v1",
            key_env=None,
            in_flight=2 * self.settings.slots,
            read=600.0,
            total=600.0,
            retry=Retry(attempts=3, first=0.5),
        )

    def healthy(self) -> bool:
        """Whether it answers."""
        if self._child is None or self._child.poll() is not None:
            return False
        try:
            # A proxy of the environment cannot reach this machine's own loopback.
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """End the server; does nothing when there is none."""
        child, self._child = self._child, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _start(self, path: Path) -> None:
        settings = self.settings
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._child = subprocess.Popen(
            # By its path and with -P: it needs nothing of this package, and is up a second sooner without.
            [sys.executable, "-P", str(Path(__file__).with_name("server_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )
        asked = {"path": str(path), "name": self.name, "slots": settings.slots, "context": settings.context}
        line = self._address(json.dumps(asked | {"threads": settings.threads}))
        try:
            self.url = str(json.loads(line)["url"])
        except (ValueError, KeyError):
            raise self._failed(f"could not be served: {self._last_words()}") from None
        if not self.healthy():
            raise self._failed(f"is served at {self.url}, which does not answer")

    def _address(self, asked: str) -> str:
        """The line the child says when it is up; "" if it ended before."""
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            return ""
        try:
            child.stdin.write(asked + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            return ""
        until = time.monotonic() + self.settings.patience
        while os.name == "posix" and not select.select([child.stdout], [], [], 0.2)[0]:
            if time.monotonic() > until:
                raise self._failed(f"was not up after {self.settings.patience:g} seconds")
        return child.stdout.readline()

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return " ".join(self._log.read()[-LAST:].split())

    def _failed(self, how: str) -> ModelError:
        return ModelError(
            f"{self.settings.model} {how}", "is it a GGUF of a model llama.cpp knows, and is there memory for it?"
        )
