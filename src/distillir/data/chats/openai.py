"""OpenAI-style chats: fine-tuning files, plain lists of messages, logs of Chat Completions requests, Batch files.

    {"messages": [{"role": "user", "content": "…"}, …]}
    [{"role": "user", "content": "…"}, …]
    {"request": {"messages": […]}, "response": {"choices": [{"message": {…}}]}}
    {"custom_id": "…", "body": {"messages": […]}}

A logged answer is appended to the messages of its request. `session_id`, `conversation_id`, `thread_id` or
`chat_id`, in the row or in its `metadata`, name the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from distillir.data.chats.chat import NAME_KEYS, SESSION_KEYS, Chat, Logged, named, text_of, time_of

WRAPPERS = ("request", "body", "input", "request_body", "kwargs", "params")


def read(value: object) -> Chat | None:
    """The chat in one row, or None where the row holds none of this format."""
    if isinstance(value, list):
        return Chat([_message(m) for m in value]) if _are_messages(value) else None
    if not isinstance(value, dict):
        return None
    inner = next((w for key in WRAPPERS if isinstance(w := value.get(key), dict) and "messages" in w), {})
    messages = value.get("messages", inner.get("messages"))
    if not _are_messages(messages):
        return None
    said = [_message(m) for m in messages]
    answer = _answer(value)
    if answer is not None:
        said.append(_message(answer))
    session = named(value, SESSION_KEYS) or named(inner, SESSION_KEYS)
    return Chat(said, session, named(value, NAME_KEYS))


def _are_messages(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    if not isinstance(value, list) or not all(isinstance(m, Mapping) for m in value):
        return False
    # Half of them, not all, since a message without a role costs only itself; not one, since LangChain has some too.
    roles = sum(isinstance(m.get("role"), str) for m in value)
    return roles > 0 and 2 * roles >= len(value)


def _message(message: Mapping[str, Any]) -> Logged:
    role = message.get("role")
    return Logged(role if isinstance(role, str) else "", text_of(message.get("content")), time_of(message))


def _answer(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first choice of a logged response."""
    response: object = row
    for key in ("response", "body"):
        inner = response.get(key) if isinstance(response, Mapping) else None
        response = inner if isinstance(inner, Mapping) else response
    choices = response.get("choices") if isinstance(response, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    return message if isinstance(message, Mapping) else None
