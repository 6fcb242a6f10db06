"""A student and a collection, ready to be searched by many at once."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distillir.conversation import Conversation
from distillir.index import SparseQuery
from distillir.search import Hit, QueryEncoder, Retriever
from distillir.serving.batching import Batcher
from distillir.serving.collection import Collection
from distillir.serving.metrics import Metrics
from distillir.serving.settings import ServeSettings
from distillir.vectors import CSR

if TYPE_CHECKING:
    from distillir.data import Corpus
    from distillir.students import SparseStudent, TermOrigin


class Searcher:
    """What answers a search; it never changes, its collection does.

    Args:
        encoder: of conversations. version: names it.
        collection: of the documents. corpus: their texts.
        student: itself, for the origins of terms.
        settings: of the service. metrics: of the service.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        version: str,
        collection: Collection,
        corpus: Corpus | None,
        student: SparseStudent,
        settings: ServeSettings,
        metrics: Metrics,
    ) -> None:
        self.version = version
        self.collection = collection
        self.retriever = Retriever(encoder, collection.index, corpus)
        self._batcher = Batcher(self.retriever.queries, settings.batch, metrics.batch.observe)
        self._metrics = metrics
        self._remembered: OrderedDict[bytes, SparseQuery] = OrderedDict()
        self._room = settings.cache
        self._student = student
        collection.hold()

    @property
    def served(self) -> dict[str, str]:
        """Versions that a reply names."""
        return {"model": self.version, "index": self.collection.version}

    async def query(self, chat: Conversation) -> SparseQuery:
        """The query of a conversation; the same conversation is encoded once."""
        key = hashlib.blake2b(json.dumps([[t.role, t.content] for t in chat.turns]).encode(), digest_size=16).digest()
        if (known := self._remembered.get(key)) is not None:
            self._remembered.move_to_end(key)
            self._metrics.cached.inc()
            return known
        made = await self._batcher(chat)
        self._remembered[key] = made
        while len(self._remembered) > self._room:
            self._remembered.popitem(last=False)
        return made

    def find(self, query: SparseQuery, k: int, where: Mapping[str, Any] | None, *, terms: bool) -> list[Hit]:
        """The k best documents; to be called in a thread while the collection is kept from changing."""
        return self.retriever.find([query], k, where, terms=terms)[0]

    @staticmethod
    def sparse(rows: CSR) -> SparseQuery:
        """The query in the first of some rows."""
        return SparseQuery(*rows.row(0))

    async def origins(self, chat: Conversation, query: SparseQuery) -> list[TermOrigin]:
        """Where the terms of a query come from."""
        from distillir.students import term_origins

        return await self._batcher.alone(lambda: term_origins(self._student, chat, query))

    def close(self) -> None:
        """Let thread and collection go."""
        self._batcher.close()
        self.collection.release()
