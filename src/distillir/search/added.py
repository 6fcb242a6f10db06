"""Documents that joined an index after it was built: the index itself keeps them, beside what it is filtered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillir.data import Document

_KEY = "document"  # a mapping, which no filter can equal


def payload_of(document: Document) -> dict[str, Any]:
    """What an index keeps of a document that its corpus lacks."""
    own = {"text": document.text, "title": document.title, "metadata": dict(document.metadata)}
    group = {"group": document.group} if document.group else {}
    return {**document.metadata, **group, _KEY: own}


def document_in(doc_id: str, payload: Mapping[str, Any]) -> Document | None:
    """The document that `payload_of` kept; None in other payloads."""
    own = payload.get(_KEY)
    if not isinstance(own, Mapping) or not {"text", "title", "metadata"} <= set(own):
        return None
    return Document(doc_id, own["text"], own["title"], str(payload.get("group", "")), own["metadata"])
