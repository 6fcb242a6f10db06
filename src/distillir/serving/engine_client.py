"""Requests to OpenSearch or Elasticsearch, over connections that are kept, and their errors as a service tells them."""

from __future__ import annotations

import http.client
import json
import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from distillir.errors import ServiceError

Json = dict[str, Any]


class EngineClient:
    """Asks one index; for many threads at once.

    Args:
        url: of the index. auth_env: environment variable with the `Authorization` header.
        timeout: seconds for a reply.
    """

    def __init__(self, url: str, auth_env: str, timeout: float) -> None:
        self._url, self._auth_env, self._timeout = url, auth_env, timeout
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False

    def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """The JSON of a reply.

        Raises:
            ServiceError: 504 where it takes too long, 429 where the engine says so, 503 for whatever else goes wrong.
        """
        try:
            status, content = self._reply(method, path, None if body is None else json.dumps(body).encode())
        except TimeoutError as error:
            raise ServiceError(
                504, f"the engine did not answer within {self._timeout:g} s", "ask again later", wait=1
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(
                503, f"{self._url} does not answer ({error})", "is the engine running?", wait=5
            ) from error
        if status == 429:
            raise ServiceError(429, "the engine has too much to do", "wait as Retry-After says", wait=1)
        if status >= 400:
            cure = {404: "create the index and send it the exported file", 401: "", 403: ""}.get(status, "see its log")
            raise ServiceError(
                503,
                f"{self._url} answers {status}{_kind(content)}",
                cure or f"export {self._auth_env} with an Authorization header that it takes",
                wait=5,
            )
        try:
            found: Json = json.loads(content)
        except ValueError as error:
            raise ServiceError(503, f"{self._url} answers no JSON", "check the address", wait=5) from error
        return found

    def close(self) -> None:
        """Close what is open; a reply that is on its way still arrives."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _reply(self, method: str, path: str, content: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if auth := os.environ.get(self._auth_env, "").strip():
            headers["Authorization"] = auth
        while True:
            connection, fresh = self._connection()
            try:
                connection.request(method, urlsplit(self._url).path.rstrip("/") + path, content, headers)
                reply = connection.getresponse()
                status, found = reply.status, reply.read()
            except BaseException as error:
                connection.close()
                gone = isinstance(error, OSError | http.client.HTTPException) and not isinstance(error, TimeoutError)
                if fresh or not gone:  # the other end may have closed one that was kept
                    raise
                continue
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)
            return status, found

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        with suppress(IndexError):
            return self._idle.pop(), False
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(str(parts.hostname), parts.port, timeout=self._timeout), True


def _kind(content: bytes) -> str:
    """The type of an engine's error; its reason may quote a text."""
    with suppress(ValueError, KeyError, TypeError):
        return f" ({json.loads(content)['error']['type']})"
    return ""
