"""LangChain message dumps.

`messages_to_dict`, a list of `{"type": "human", "data": {"content": "…"}}`; `dumpd` and `dumps`, a list of
`{"lc": 1, "type": "constructor", "id": [..., "HumanMessage"], "kwargs": {"content": "…"}}`; and the flat form of
`model_dump`, `{"type": "human", "content": "…"}`. Also as `{"session_id": "…", "messages": [...]}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillir.data.chats.chat import NAME_KEYS, SESSION_KEYS, Chat, Logged, named, text_of, time_of

CLASSES = {
    "HumanMessage": "human",
    "AIMessage": "ai",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
    "ChatMessage": "chat",
    "RemoveMessage": "remove",
}
TYPES = frozenset(CLASSES.values()) | {"developer"}


def read(value: object) -> Chat | None:
    """The chat in one row, or None where the row holds none of this format."""
    row = value if isinstance(value, dict) else {}
    inner = next((w for key in ("inputs", "input", "kwargs") if isinstance(w := row.get(key), dict)), {})
    lists = (place.get(key) for place in (row, inner) for key in ("messages", "history", "chat_history"))
    messages = value if isinstance(value, list) else next((m for m in lists if isinstance(m, list)), None)
    if not isinstance(messages, list) or not messages:
        return None
    said = [_message(m) for m in messages]
    if all(message is None for message in said):
        return None
    return Chat([m or Logged("", None) for m in said], named(row, SESSION_KEYS), named(row, NAME_KEYS))


def _message(value: object) -> Logged | None:
    if not isinstance(value, Mapping):
        return None
    kind, data = _kind_and_data(value)
    if data is None:
        return None
    if kind == "chat":  # its role stands beside the text
        kind = role if isinstance(role := data.get("role"), str) else ""
    elif kind not in TYPES:
        return None
    return Logged(kind, text_of(data.get("content")), time_of(data))


def _kind_and_data(value: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    path = value.get("id")
    if value.get("lc") == 1 and isinstance(path, list) and path:
        data = value.get("kwargs")
        return CLASSES.get(str(path[-1]).removesuffix("Chunk"), ""), data if isinstance(data, Mapping) else None
    kind = value.get("type")
    name = kind if isinstance(kind, str) else ""
    data = value.get("data", value if "content" in value else None)
    return CLASSES.get(name.removesuffix("Chunk"), name), data if isinstance(data, Mapping) else None
