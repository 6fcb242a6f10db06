"""The `conversations.json` of a ChatGPT data export: an array of chats, each a tree of messages.

    {"conversation_id": "…", "current_node": "n3", "mapping": {"n3": {"parent": "n2", "message":
      {"author": {"role": "user"}, "create_time": 1706745600.0,
       "content": {"content_type": "text", "parts": ["…"]}}}, …}}

Edited prompts and repeated answers are branches; what the user saw last is the path from `current_node` to the root,
and only that path is read. Hidden messages and those to a tool are nobody's turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillir.data.chats.chat import Chat, Logged, named, text_of, time_of


def read(value: object) -> Chat | None:
    """The chat in one row, or None where the row holds none of this format."""
    mapping = value.get("mapping") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(mapping, dict):
        return None
    nodes = (mapping[name] for name in _path(mapping, value.get("current_node")))
    messages = (node.get("message") for node in nodes)
    said = [_message(message) for message in messages if isinstance(message, Mapping)]
    return Chat(said, named(value, ("conversation_id", "id")))


def _path(mapping: Mapping[str, Any], leaf: object) -> list[str]:
    """Names of the nodes from the root to `leaf`; without a leaf, along the last children."""
    if not isinstance(leaf, str) or leaf not in mapping:
        leaf = _last_leaf(mapping)
    path: dict[str, None] = {}
    while isinstance(leaf, str) and leaf not in path and isinstance(mapping.get(leaf), Mapping):
        path[leaf] = None
        leaf = mapping[leaf].get("parent")
    return list(path)[::-1]


def _last_leaf(mapping: Mapping[str, Any]) -> str | None:
    roots = [name for name, node in mapping.items() if isinstance(node, Mapping) and node.get("parent") is None]
    name, seen = (roots[0] if roots else None), set()
    while name is not None and name not in seen:
        seen.add(name)
        children = mapping[name].get("children")
        last = children[-1] if isinstance(children, list) and children else None
        if not isinstance(last, str) or not isinstance(mapping.get(last), Mapping):
            break
        name = last
    return name


def _message(message: Mapping[str, Any]) -> Logged:
    author, content, metadata = (message.get(key) for key in ("author", "content", "metadata"))
    role = author.get("role") if isinstance(author, Mapping) else None
    hidden = (
        message.get("weight") == 0
        or message.get("recipient", "all") not in ("all", None)
        or (isinstance(metadata, Mapping) and metadata.get("is_visually_hidden_from_conversation") is True)
        or not isinstance(content, Mapping)
        or content.get("content_type") not in ("text", "multimodal_text")
    )
    if hidden or not isinstance(content, Mapping):
        return Logged("system", None)
    return Logged(role if isinstance(role, str) else "", text_of(content.get("parts")), time_of(message))
