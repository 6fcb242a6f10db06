"""What a label can be, and what a value of each kind looks like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

Kind = Literal["rewrite", "order", "scores", "response", "responses", "conversation"]
Status = Literal["ok", "repaired", "malformed"]

SHAPES: dict[Kind, str] = {
    "rewrite": "a text with something in it",
    "response": "a text with something in it",
    "order": "document ids, best first, each once",
    "scores": "document id -> finite number",
    "responses": 'a list of {"text": …, "log_likelihood": number}, the number being optional',
    "conversation": '{"messages": [{"role": "user" or "assistant", "content": …}, …], and whatever else belongs to it}',
}


def fits(kind: Kind, value: Any) -> bool:
    """Whether a value is one of its kind; see `SHAPES`."""
    return _CHECKS[kind](value)


def is_number(value: Any) -> bool:
    """A finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _order(value: Any) -> bool:
    texts = isinstance(value, list | tuple) and all(isinstance(document, str) for document in value)
    return texts and len(set(value)) == len(value) > 0


def _scores(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(document, str) and is_number(score) for document, score in value.items())
    )


def _responses(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_response(one) for one in value)


def _response(one: Any) -> bool:
    likelihood = isinstance(one, Mapping) and one.get("log_likelihood")
    return isinstance(one, Mapping) and _text(one.get("text")) and (likelihood is None or is_number(likelihood))


def _conversation(value: Any) -> bool:
    messages = value.get("messages") if isinstance(value, Mapping) else None
    return isinstance(messages, list | tuple) and len(messages) > 0 and all(_message(one) for one in messages)


def _message(one: Any) -> bool:
    return isinstance(one, Mapping) and one.get("role") in ("user", "assistant") and _text(one.get("content"))


_CHECKS: dict[Kind, Callable[[Any], bool]] = {
    "rewrite": _text,
    "response": _text,
    "order": _order,
    "scores": _scores,
    "responses": _responses,
    "conversation": _conversation,
}
