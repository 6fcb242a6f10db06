"""What an endpoint's error means: try again, give this question up, or end the run."""

from __future__ import annotations

import json
from dataclasses import dataclass

from distillir.teachers.requests import Reason

WORDS = 300  # characters kept of what a server says
TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}
SECRET = 8  # a shorter key ("none", "local") is a placeholder, and part of ordinary words


@dataclass(frozen=True)
class Fault:
    """One attempt that failed.

    Attributes:
        reason, detail, cure, ends_run: of the `Failure` it becomes.
        again: whether another attempt may succeed.
        lost: whether the server may have done the work all the same, and count it.
        wait: seconds the server asks for.
    """

    reason: Reason
    detail: str
    cure: str = ""
    again: bool = False
    lost: bool = False
    ends_run: bool = False
    wait: float | None = None


def of_status(status: int, body: str, model: str, key_env: str | None, wait: float | None = None) -> Fault:
    """The fault of an HTTP error.

    Args:
        status: 300 or more.
        body: what the server sent.
        model: that was asked for.
        key_env: name of the environment variable the key came from; None: none was sent.
        wait: seconds the server asks for.
    """
    said = words_of(body)
    detail = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    key = f"the key in {key_env}" if key_env else "a key: none was sent"
    if status == 401:
        return Fault("not_allowed", detail, f"check {key}", ends_run=True)
    if status == 402 or (status == 429 and "insufficient_quota" in _codes(body)):
        return Fault("not_allowed", detail, "the account has no credit left: top it up, then run again", ends_run=True)
    if status == 403:
        return Fault("not_allowed", detail, f"{key} may not use {model!r}: ask for access", ends_run=True)
    if status in (404, 405, 410) or 300 <= status < 400:
        return Fault("not_allowed", detail, f"check the model name {model!r} and the base URL", ends_run=True)
    if status == 429:
        return Fault("rate_limited", detail, "ask fewer at once (in_flight)", again=True, wait=wait)
    if status in (408, 409, 425) or status >= 500:
        return Fault("server", detail, "run again later", again=True, wait=wait)
    if status == 413 or _codes(body) & TOO_LONG:
        return Fault("refused" if status == 413 else "too_long", detail, "shorten the input")
    cure = "check the parameters this server takes (reply_limit, extra)"
    return Fault("refused", detail, cure)


def words_of(body: str) -> str:
    """The message of an error body, on one line: OpenAI's `error.message` or whatever was sent."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        error = found.get("error", found)
        message = error.get("message", error.get("detail")) if isinstance(error, dict) else error
        body = message if isinstance(message, str) else body
    text = " ".join(body.split())
    return text if len(text) <= WORDS else text[: WORDS - 1] + "…"


def without(text: str, secret: str | None) -> str:
    """A text in which the key no longer stands: servers repeat it in their error messages."""
    return text.replace(secret, "[key]") if secret and len(secret) >= SECRET else text


def _codes(body: str) -> set[str]:
    """What the error calls itself."""
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError):
        return set()
    return {str(error.get(name)) for name in ("code", "type")} if isinstance(error, dict) else set()
