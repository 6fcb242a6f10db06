"""Haystack: a component from chat messages to documents, in place of a rewriting generator and a retriever.

pipeline.add_component("retriever", DistillirRetriever(Retriever.from_documents("docs"), top_k=5))
pipeline.run({"retriever": {"messages": [ChatMessage.from_user("How do I create a bucket?"), …]}})
"""

from __future__ import annotations

from typing import Any

from distillir.adapters.source import Source, metadata_of
from distillir.errors import MissingDependencyError

try:
    from haystack import Document, component
    from haystack.dataclasses import ChatMessage
except ModuleNotFoundError as error:
    raise MissingDependencyError("haystack-ai", "haystack") from error


@component
class DistillirRetriever:
    """Finds documents for the open question of a conversation.

    Args:
        source: a `distillir.Retriever` or a `RemoteRetriever`.
        top_k: documents at most.
        where: fields that must be equal.
    """

    def __init__(self, source: Source, top_k: int = 10, *, where: dict[str, Any] | None = None) -> None:
        self.source, self.top_k, self.where = source, top_k, where

    @component.output_types(documents=list[Document])
    def run(self, messages: list[ChatMessage], top_k: int | None = None) -> dict[str, Any]:
        """Documents, best first.

        Args:
            messages: the last one is the user's.
            top_k: documents at most, by default the component's.
        """
        chat = [{"role": one.role.value, "content": one.text or ""} for one in messages]
        hits = self.source.retrieve(chat, top_k or self.top_k, self.where)
        found = [Document(id=hit.id, content=hit.text, meta=metadata_of(hit), score=hit.score) for hit in hits]
        return {"documents": found}
