"""What every request passes before it is looked at: host, origin, token, size, and a time by which its body is here."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from distillir.errors import ServiceError
from distillir.serving.settings import LOOPBACK, ServeSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PROTECTED = ("/v1/", "/metrics")  # by the token; the page itself and the probes have nothing to hide
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """ASGI middleware.

    Args:
        app: what it guards. settings: limits. token: asked for unless empty.
    """

    def __init__(self, app: App, settings: ServeSettings, token: str) -> None:
        self._app, self._settings, self._token = app, settings, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
        except ServiceError as error:
            await _refuse(sent, error)
            return
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> MutableMapping[str, Any]:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, sent)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self._settings.local and name.strip("[]") not in LOOPBACK:
            # A page of another site whose name was made to point here would come under that name.
            raise ServiceError(421, "this service answers under this machine's own name only", "use http://127.0.0.1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not self._token and origin and origin.partition("://")[2].lower() != host.lower():
            # A browser sends what a page of another site makes it send, from where that page could not reach. A token
            # it does not have, so with one a proxy may stand in between under another name.
            raise ServiceError(
                403, "a page of another site asks", "ask from your server, or open the page of this service"
            )
        if not self._token or not scope["path"].startswith(PROTECTED):
            return
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
            raise ServiceError(401, "no bearer token, or a wrong one", "send `Authorization: Bearer …`")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._settings.max_body
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        too_large = ServiceError(413, f"a request of more than {limit:,} bytes", "send less at a time")
        if length.isdigit() and int(length) > limit:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ServiceError(400, "the client left before its request was whole")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise ServiceError(
                408, f"the request was not whole after {self._settings.timeout:g} s", "send it faster"
            ) from None


def error_body(error: ServiceError) -> bytes:
    """What a client reads of an error."""
    return json.dumps({"error": {"cause": error.cause, "cure": error.cure}}).encode()


async def _refuse(send: Send, error: ServiceError) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    body = error_body(error)
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
