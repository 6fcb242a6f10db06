"""ShareGPT-style chats, as JSONL or one JSON array.

    {"id": "…", "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}

`items` and `conversation` are read like `conversations`.
"""

from __future__ import annotations

from collections.abc import Mapping

from distillir.data.chats.chat import NAME_KEYS, SESSION_KEYS, Chat, Logged, named, text_of, time_of


def read(value: object) -> Chat | None:
    """The chat in one row, or None where the row holds none of this format."""
    row = value if isinstance(value, dict) else {}
    lists = (row.get(key) for key in ("conversations", "conversation", "items"))
    messages = value if isinstance(value, list) else next((m for m in lists if isinstance(m, list)), None)
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        return None
    if not any(isinstance(m.get("from"), str) for m in messages):
        return None
    said = [
        Logged(role if isinstance(role := m.get("from"), str) else "", text_of(m.get("value")), time_of(m))
        for m in messages
    ]
    return Chat(said, named(row, SESSION_KEYS), named(row, NAME_KEYS))
