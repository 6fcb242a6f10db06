"""LangChain: in place of `create_history_aware_retriever(llm, retriever, prompt)`, without its language model.

retriever = DistillirRetriever(source=Retriever.from_documents("docs"), k=5)
chain = create_retrieval_chain(retriever, answer)              # calls it with {"input": …, "chat_history": […]}
retriever.invoke("how do I create a bucket?")                  # or with one question, or with messages
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distillir.adapters.source import metadata_of
from distillir.errors import ConversationError, MissingDependencyError

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.messages import convert_to_messages
    from langchain_core.retrievers import BaseRetriever
except ModuleNotFoundError as error:
    raise MissingDependencyError("langchain-core", "langchain") from error

ROLES = {"human": "user", "ai": "assistant"}


class DistillirRetriever(BaseRetriever):
    """Finds documents for the open question of a conversation.

    `invoke` takes a question, messages, or a mapping with `input` and `chat_history`, as history-aware retrievers do.

    Args:
        source: a `distillir.Retriever` or a `RemoteRetriever`.
        k: documents at most.
        where: fields that must be equal.
    """

    source: Any
    k: int = 10
    where: dict[str, Any] | None = None

    def _get_relevant_documents(self, query: Any, *, run_manager: CallbackManagerForRetrieverRun) -> list[Any]:
        hits = self.source.retrieve(messages_of(query), self.k, self.where)
        return [Document(page_content=hit.text, metadata=metadata_of(hit), id=hit.id) for hit in hits]


def messages_of(given: Any) -> list[dict[str, Any]]:
    """OpenAI-style messages of whatever a chain passes.

    Raises:
        ConversationError: something else.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, Mapping):
        if not isinstance(given.get("input"), str):
            raise ConversationError("a mapping without a question", "pass `input`, and `chat_history` if there is one")
        return [*messages_of(list(given.get("chat_history") or [])), {"role": "user", "content": given["input"]}]
    if not isinstance(given, Sequence):
        raise ConversationError(f"a {type(given).__name__} is no conversation", "pass a question or messages")
    return [{"role": ROLES.get(one.type, "system"), "content": one.content} for one in convert_to_messages(given)]
