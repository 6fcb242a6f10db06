"""LlamaIndex: in place of the condensing step of its chat engines.

    memory = ChatMemoryBuffer.from_defaults()
    retriever = DistillirRetriever(Retriever.from_documents("docs"), k=5, memory=memory)
    engine = CondensePlusContextChatEngine.from_defaults(retriever, llm=llm, memory=memory, skip_condense=True)

The engine passes the question as it was asked; the retriever reads the history in the memory that both share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillir.adapters.source import Source, metadata_of
from distillir.errors import MissingDependencyError

try:
    from llama_index.core.memory import BaseMemory
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ModuleNotFoundError as error:
    raise MissingDependencyError("llama-index-core", "llamaindex") from error


class DistillirRetriever(BaseRetriever):
    """Finds nodes for the open question of the conversation in a memory.

    Args:
        source: a `distillir.Retriever` or a `RemoteRetriever`.
        k: nodes at most.
        memory: of the chat engine; None = each question stands alone.
        where: fields that must be equal.
    """

    def __init__(
        self, source: Source, k: int = 10, *, memory: BaseMemory | None = None, where: Mapping[str, Any] | None = None
    ) -> None:
        self.source, self.k, self.memory, self.where = source, k, memory, where
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[Any]:
        question = query_bundle.query_str
        said = [] if self.memory is None else self.memory.get_all()
        history = [{"role": str(one.role.value), "content": one.content or ""} for one in said]
        asked = {"role": "user", "content": question}
        if not history or history[-1] != asked:  # some engines put the question into the memory first
            history.append(asked)
        hits = self.source.retrieve(history, self.k, self.where)
        return [
            NodeWithScore(node=TextNode(id_=hit.id, text=hit.text, metadata=metadata_of(hit)), score=hit.score)
            for hit in hits
        ]
