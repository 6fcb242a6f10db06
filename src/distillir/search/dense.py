"""From a conversation to documents by dense vectors: encode the whole conversation, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from distillir.closing import Closing
from distillir.conversation import Conversation
from distillir.errors import ConfigError, ConversationError, SearchIndexError
from distillir.index.dense import DenseIndex
from distillir.search.rerank import DEPTH, PairScorer, check_depth, rerank_hits, reranker_of
from distillir.search.retriever import Hit, Messages

if TYPE_CHECKING:
    from pathlib import Path

    from distillir.data import Corpus


class DenseQueryEncoder(Protocol):
    """What a student must be able to do to search dense vectors."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def document_encoder(self) -> str:
        """Whose document vectors its queries are for; empty where nobody said."""
        ...

    def encode_queries(self, conversations: Sequence[Conversation]) -> NDArray[np.float32]:
        """(R, D), one row a conversation."""
        ...


class DenseRetriever(Closing):
    """Conversational search over an existing dense index, without a language model in its way.

    Usage::

        student = DenseStudent.from_pretrained("run/student")
        retriever = DenseRetriever(student, DenseIndex.open("run/corpus.vectors"), Corpus.open("run/corpus.arrow"))
        hits = retriever.retrieve(messages, k=10)

    Args:
        encoder: turns conversations into query vectors.
        index: documents of the encoder they were distilled against.
        corpus: their texts; without it a hit has its id and score alone.
        reranker, rerank_depth: see `Retriever`; a reranker needs the corpus.

    Raises:
        SearchIndexError: encoder and index have other widths, or the index holds vectors of another encoder.
        ModelError: no reranker there.
        ConfigError: a reranker without texts to read, or `rerank_depth` below 1.
    """

    def __init__(
        self,
        encoder: DenseQueryEncoder,
        index: DenseIndex,
        corpus: Corpus | None = None,
        *,
        reranker: PairScorer | str | Path | None = None,
        rerank_depth: int = DEPTH,
    ) -> None:
        if encoder.dim != index.dim:
            raise SearchIndexError(
                f"the encoder makes vectors of width {encoder.dim}, the index holds {index.dim}",
                "open the index of the encoder that the student was distilled against",
            )
        if encoder.document_encoder and index.encoder and encoder.document_encoder != index.encoder:
            raise SearchIndexError(
                f"the student was distilled against vectors of {encoder.document_encoder!r}, the index holds those of "
                f"{index.encoder!r}",
                "open the index it was distilled against, or train a student for this one",
            )
        self.encoder = encoder
        self.index = index
        self.corpus = corpus
        if reranker is not None and corpus is None:
            raise ConfigError("a reranker reads texts, and there is no corpus", "give the corpus too")
        check_depth(rerank_depth)
        self.reranker = reranker_of(reranker)
        self.rerank_depth = rerank_depth

    def retrieve(self, messages: Messages | Conversation, k: int = 10, among: Sequence[str] | None = None) -> list[Hit]:
        """The k best documents for the open question of a conversation, best first; their `terms` are empty.

        Args:
            messages: OpenAI-style messages, the last one the user's, or a `Conversation`.
            k: how many at most.
            among: ids to choose from; None = all.

        Raises:
            ConversationError: messages that are no conversation, or a blank question.
            SearchIndexError: the index cannot answer.
        """
        return self.retrieve_batch([messages], k, among)[0]

    def retrieve_batch(
        self, many: Sequence[Messages | Conversation], k: int = 10, among: Sequence[str] | None = None
    ) -> list[list[Hit]]:
        """`retrieve` for many conversations, encoded and searched together."""
        if not many:
            return []
        chats = [m if isinstance(m, Conversation) else Conversation.from_messages(m) for m in many]
        for chat in chats:
            if not chat.question.strip():
                name = f" of conversation {chat.id!r}" if chat.id else ""
                raise ConversationError(f"the question{name} is blank: nothing to search for", "ask in words")
        wanted = k if self.reranker is None else max(k, self.rerank_depth)
        found = self.index.search_batch(self.encoder.encode_queries(chats), wanted, among)
        hits = [[self._hit(one.id, one.score) for one in some] for some in found]
        return hits if self.reranker is None else rerank_hits(self.reranker, chats, hits, k)

    def close(self) -> None:
        """Let the index go; closing twice is harmless."""
        self.index.close()

    def _hit(self, doc_id: str, score: float) -> Hit:
        if self.corpus is None:
            return Hit(doc_id, score, "", "", ())
        document = self.corpus[doc_id]
        return Hit(doc_id, score, document.text, document.title, ())
