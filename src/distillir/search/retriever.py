"""From a conversation to documents: encode the whole conversation, search, say which terms matched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distillir.closing import Closing
from distillir.conversation import Conversation
from distillir.data import Document
from distillir.errors import ConfigError, ConversationError, SearchIndexError
from distillir.index import Index, ScoredId, SparseQuery
from distillir.search.added import document_in
from distillir.search.rerank import DEPTH, PairScorer, check_depth, rerank_hits, reranker_of
from distillir.vectors import CSR

if TYPE_CHECKING:
    from pathlib import Path

    from distillir.data import Corpus
    from distillir.search.documents import DocumentsRetriever
    from distillir.search.sources import Source

Messages = Iterable[Mapping[str, object]]
_TRIES = 3  # a document may be deleted between finding it and reading it


class QueryEncoder(Protocol):
    """What a student must be able to do to search."""

    @property
    def dim(self) -> int:
        """Vocabulary size."""
        ...

    def encode_queries(self, conversations: Sequence[Conversation]) -> CSR:
        """One sparse row a conversation."""
        ...

    def tokens(self, text: str, /) -> Sequence[int]:
        """Token ids of a text, without special tokens; a token id is a dimension."""
        ...

    def terms(self, indices: Sequence[int], /) -> list[str]:
        """Vocabulary strings of dimensions."""
        ...


@dataclass(frozen=True)
class Hit:
    """One document that was found.

    Attributes:
        id: the document's id.
        score: its dot product with the query, or what a reranker says.
        text: its body; empty where nobody keeps it.
        title: may be empty.
        terms: the vocabulary entries that query and document share, each with the product of its two weights, largest
            first. The products sum to the dot product.
        metadata: what else is known of it: the file and the place a passage comes from, fields of its row.
    """

    id: str
    score: float
    text: str
    title: str
    terms: tuple[tuple[str, float], ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Retriever(Closing):
    """Conversational search without a language model in its way.

    Usage::

        retriever = Retriever(student, open_index("index"), Corpus.open("corpus.arrow"))
        hits = retriever.retrieve([
            {"role": "user", "content": "Who wrote Dune?"},
            {"role": "assistant", "content": "Frank Herbert, in 1965."},
            {"role": "user", "content": "What else did he write?"},
        ], k=10)

    Args:
        encoder: turns conversations into sparse queries.
        index: documents of the same vocabulary.
        corpus: their texts; without it, `text` and `title` of the index's payloads are used.
        reranker: scores again what was found, and hits carry its scores: a folder, a model id of a cross-encoder, or
            anything with `predict`. None = what the index says.
        rerank_depth: documents that it scores a question.

    Raises:
        SearchIndexError: encoder and index have vocabularies of different sizes.
        ModelError: no reranker there.
        ConfigError: `rerank_depth` below 1.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        index: Index,
        corpus: Corpus | None = None,
        *,
        reranker: PairScorer | str | Path | None = None,
        rerank_depth: int = DEPTH,
    ) -> None:
        if encoder.dim != index.dim:
            raise SearchIndexError(
                f"the encoder has {encoder.dim} dimensions, the index {index.dim}",
                "open the index that was built with the encoder's vocabulary",
            )
        self.encoder = encoder
        self.index = index
        self.corpus = corpus
        check_depth(rerank_depth)
        self.reranker = reranker_of(reranker)
        self.rerank_depth = rerank_depth

    @classmethod
    def from_documents(cls, source: Source, model: str | Path | None = None, **options: Any) -> DocumentsRetriever:
        """Read, encode and index documents and search them with the untrained turn gate; nothing is trained.

        Usage::

            retriever = Retriever.from_documents("docs/")
            hits = retriever.retrieve([{"role": "user", "content": "How do I create a bucket?"}])

        Args:
            source: a folder, a file, or texts; see `distillir.search.documents.open_documents`.
            model: what reads the questions, by default the packaged `splade-tiny`.
            options: `folder`, `engine`, `words`, `quiet`, … of `open_documents`, which names the errors too.
        """
        from distillir.search.documents import open_documents

        return open_documents(source, model, **options)

    def retrieve(
        self, messages: Messages | Conversation, k: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """The k best documents for the open question of a conversation, best first.

        Args:
            messages: OpenAI-style messages, the last one the user's, or a `Conversation`.
            k: how many at most; fewer share no term with the query.
            where: payload fields that must be equal; see `Index.search`.

        Raises:
            ConversationError: messages that are no conversation, or nothing to search for in them.
            SearchIndexError: the index cannot answer.
        """
        return self.retrieve_batch([messages], k, where)[0]

    def retrieve_batch(
        self, many: Sequence[Messages | Conversation], k: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """`retrieve` for many conversations, encoded and searched together."""
        if not many:
            return []
        conversations = [_read(messages) for messages in many]
        queries = self.queries(conversations)
        wanted = k if self.reranker is None else max(k, self.rerank_depth)
        hits = self.find(queries, wanted, where)
        return hits if self.reranker is None else rerank_hits(self.reranker, conversations, hits, k)

    def find(
        self, queries: Sequence[SparseQuery], k: int = 10, where: Mapping[str, Any] | None = None, *, terms: bool = True
    ) -> list[list[Hit]]:
        """The k best documents of each query that `queries` made, as the index scores them.

        Args:
            queries: whose vectors exist already.
            k, where: as in `retrieve`.
            terms: whether hits name the terms they share with the query; without them, vectors of documents are not
                read.
        """
        found = self.index.search_batch(queries, k, where)
        return [self._hits(query, one, k, where, terms) for query, one in zip(queries, found, strict=True)]

    def queries(self, conversations: Sequence[Conversation]) -> list[SparseQuery]:
        """Sparse queries, never empty: where the encoder activates nothing, the question's own tokens weigh 1 each.

        Raises:
            ConversationError: the encoder activates nothing, and the question has no tokens.
        """
        rows = self.encoder.encode_queries(conversations)
        queries = [SparseQuery(*rows.row(i)) for i in range(len(conversations))]
        return [
            query if query.values.any() else self._bag_of_tokens(conversation)
            for query, conversation in zip(queries, conversations, strict=True)
        ]

    def query_terms(self, messages: Messages | Conversation, top: int | None = None) -> dict[str, float]:
        """The query as an engine of terms takes it: vocabulary entry → weight, largest first.

        Args:
            messages: as `retrieve` takes them.
            top: keep this many terms; None = all.

        Raises:
            ConversationError: messages that are no conversation, or nothing to search for in them.
            ConfigError: `top` below 1.
        """
        if top is not None and top < 1:
            raise ConfigError(f"top is {top}", "keep at least one term, or leave it out")
        query = self.queries([_read(messages)])[0]
        order = np.argsort(-query.values, kind="stable")[:top]
        weights = query.values[order].tolist()
        return dict(zip(self.encoder.terms(query.indices[order].tolist()), weights, strict=True))

    def close(self) -> None:
        """Let the index go; closing twice is harmless."""
        self.index.close()

    def _bag_of_tokens(self, conversation: Conversation) -> SparseQuery:
        tokens = np.unique(np.asarray(self.encoder.tokens(conversation.question), np.int32))
        if not len(tokens):
            name = f" of conversation {conversation.id!r}" if conversation.id else ""
            raise ConversationError(
                f"the question {conversation.question!r}{name} has nothing to search for", "ask in words"
            )
        return SparseQuery(tokens, np.ones(len(tokens), np.float32))

    def _hits(
        self, query: SparseQuery, found: list[ScoredId], k: int, where: Mapping[str, Any] | None, terms: bool
    ) -> list[Hit]:
        for attempt in range(1, _TRIES + 1):
            ids = [hit.id for hit in found]
            try:
                vectors = self.index.vectors(ids) if terms else None
                documents = self.documents(ids)
                break
            except SearchIndexError:
                if attempt == _TRIES:
                    raise
                found = self.index.search(query, k, where)
        shared: Sequence[tuple[tuple[str, float], ...]] = [()] * len(ids)
        if vectors is not None:
            weights = np.zeros(self.index.dim, np.float32)
            weights[query.indices] = query.values
            shared = [self._overlap(weights, *vectors.row(i)) for i in range(len(ids))]
        return [
            Hit(hit.id, hit.score, document.text, document.title, own, document.metadata)
            for hit, own, document in zip(found, shared, documents, strict=True)
        ]

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """Texts and metadata, in the order of the ids; what was added to the index later is newer than the corpus.

        Raises:
            SearchIndexError, DataError: no such document.
        """
        return [self._document(name, kept) for name, kept in zip(ids, self.index.payloads(ids), strict=True)]

    def _document(self, name: str, kept: dict[str, Any]) -> Document:
        if (added := document_in(name, kept)) is not None:
            return added
        if self.corpus is not None:
            return self.corpus[name]
        return Document(name, str(kept.pop("text", "")), str(kept.pop("title", "")), metadata=kept)

    def _overlap(
        self, weights: NDArray[np.float32], indices: NDArray[np.int32], values: NDArray[np.float32]
    ) -> tuple[tuple[str, float], ...]:
        products = weights[indices] * values
        order = np.argsort(-products, kind="stable")[: np.count_nonzero(products)]
        return tuple(zip(self.encoder.terms(indices[order].tolist()), products[order].tolist(), strict=True))


def _read(messages: Messages | Conversation) -> Conversation:
    return messages if isinstance(messages, Conversation) else Conversation.from_messages(messages)
