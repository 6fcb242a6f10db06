"""A retriever whose work a service does: the same call, over HTTP."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from distillir.errors import ConfigError, ServiceError
from distillir.search import Hit

LOCAL = ("localhost", "127.0.0.1", "::1")


class RemoteRetriever:
    """Asks `distillir serve`.

    Usage::

        retriever = RemoteRetriever("http://127.0.0.1:8765")
        hits = retriever.retrieve([{"role": "user", "content": "How do I create a bucket?"}], k=5)

    Args:
        url: of the service.
        token_env: environment variable with its token, sent where it is set.
        timeout: seconds for a reply.
        rerank: ask for the second stage too.

    Raises:
        ConfigError: no web address.
    """

    def __init__(
        self,
        url: str,
        *,
        token_env: str = "DISTILLIR_TOKEN",  # noqa: S107
        timeout: float = 30.0,
        rerank: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ConfigError(f"{url!r} is no address of a service", "give it like http://127.0.0.1:8765")
        self.url = url.rstrip("/")
        self.token_env = token_env
        self.timeout = timeout
        self.rerank = rerank
        # A proxy of the environment cannot reach this machine's own loopback.
        proxies = urllib.request.ProxyHandler({} if parts.hostname in LOCAL else None)
        self._opener = urllib.request.build_opener(proxies)

    def retrieve(
        self, messages: Sequence[Mapping[str, object]], k: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """The k best documents, best first; see `Retriever.retrieve`.

        Raises:
            ServiceError: refused, with the service's own cause and cure, or not reached (503).
        """
        body: dict[str, Any] = {"messages": list(messages), "k": k, "rerank": self.rerank, "explain": True}
        if where:
            body["filter"] = dict(where)
        return [
            Hit(
                hit["id"],
                hit["score"],
                hit["text"],
                hit["title"],
                tuple((one["term"], one["weight"]) for one in hit["terms"]),
                hit["metadata"],
            )
            for hit in self._post("/v1/search", body)["hits"]
        ]

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get(self.token_env, "").strip():
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self.timeout) as reply:
                found: dict[str, Any] = json.loads(reply.read())
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error) from None
        except (OSError, ValueError) as error:
            raise ServiceError(503, f"{self.url} does not answer ({error})", "is `distillir serve` running?") from error


def _refused(error: urllib.error.HTTPError) -> ServiceError:
    wait = error.headers.get("Retry-After", "")
    try:
        told = json.loads(error.read())["error"]
        cause, cure = str(told["cause"]), str(told["cure"])
    except (OSError, ValueError, KeyError, TypeError):
        cause, cure = f"the service answered with status {error.code}", "look at its log"
    return ServiceError(error.code, cause, cure, wait=int(wait) if wait.isdigit() else None)
