"""How a service is reached, and what it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from distillir.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeSettings:
    """Address, limits and times of a service.

    Attributes:
        host: interface; beyond this machine's own only with a token.
        port: 0 = any free one.
        token_env: environment variable with the bearer token; empty or unset: none is asked for.
        max_body: bytes of a request.
        max_turns: messages of a conversation.
        max_k: hits of a reply.
        max_documents: documents added or deleted in one request.
        in_flight: requests worked on or waiting; a further one gets 429.
        timeout: seconds a request may take, and its body to arrive.
        batch: conversations encoded together at most.
        cache: conversations whose vectors are remembered.
        workers: processes that answer; several only where an engine elsewhere has the documents.
        grace: seconds that requests in flight get when the service is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token_env: str = "DISTILLIR_TOKEN"  # noqa: S105 - the name of a variable
    max_body: int = 4 << 20
    max_turns: int = 200
    max_k: int = 1000
    max_documents: int = 256
    in_flight: int = 64
    timeout: float = 30.0
    batch: int = 16
    cache: int = 4096
    grace: float = 10.0
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("max_body", "max_turns", "max_k", "max_documents", "in_flight", "batch", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", "give 1 or more")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port {self.port}", "give a port from 1 to 65535, or 0 for any free one")
        if self.timeout <= 0 or self.grace < 0 or self.cache < 0:
            raise ConfigError(
                f"timeout {self.timeout}, grace {self.grace}, cache {self.cache}",
                "the time-out is above 0 seconds, the others 0 or more",
            )

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def token(self) -> str:
        """The bearer token of the environment, "" for none.

        Raises:
            ConfigError: none, and others than this machine could reach the service; or one that no header can carry.
        """
        token = os.environ.get(self.token_env, "").strip()
        if not token and not self.local:
            raise ConfigError(
                f"--host {self.host} is reached by others, and {self.token_env} is not set",
                f"export {self.token_env}=… with a secret that clients send as `Authorization: Bearer …`",
            )
        if not (token.isascii() and token.isprintable()):
            raise ConfigError(f"{self.token_env} has characters that no header carries", "use letters and digits")
        return token
