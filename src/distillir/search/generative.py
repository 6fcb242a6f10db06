"""Search without vectors: a model writes identifiers of passages, and passages that hold likely ones are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distillir.closing import Closing
from distillir.conversation import Conversation
from distillir.errors import ConfigError, SearchIndexError
from distillir.index.coverage import REPEAT
from distillir.index.identifiers import IdentifierIndex, stamp_of
from distillir.index.suffix_spans import Spans
from distillir.search.generative_scores import Keys, Scored, joined, score_keys
from distillir.search.rerank import DEPTH, PairScorer, check_depth, rerank_hits, reranker_of
from distillir.search.retriever import Hit, Messages

if TYPE_CHECKING:
    from distillir.data import Corpus
    from distillir.students import GenerativeStudent

BEAMS = 15
WIDEST = 1000  # occurrences above which a key says nothing


class GenerativeRetriever(Closing):
    """Conversational search by a generative student; its index is text, tokenised.

    Usage::

        student = GenerativeStudent.from_pretrained("run/student")
        corpus = Corpus.open("run/corpus.arrow")
        retriever = GenerativeRetriever(student, IdentifierIndex.open("run/identifiers"), corpus)
        hits = retriever.retrieve(messages, k=10)

    Args:
        student: writes identifiers.
        index: those of the corpus, made with the student's tokenizer.
        corpus: the passages.
        beams: width of the search in each view.
        repeat: see `index.coverage`.
        widest: occurrences above which a key is left out: it says little, and would be looked up long.
        smoothing: see `students.key_weights.key_prior`; smaller where there are few passages.
        batch_size: conversations written for together, each with its beams.
        reranker, rerank_depth: see `Retriever`.

    Raises:
        SearchIndexError: an index of another tokenizer or corpus.
        ConfigError: the index has no view that the student writes, no beam, no smoothing, or `rerank_depth` below 1.
        ModelError: no reranker there.
    """

    def __init__(
        self,
        student: GenerativeStudent,
        index: IdentifierIndex,
        corpus: Corpus,
        *,
        beams: int = BEAMS,
        repeat: float = REPEAT,
        widest: int = WIDEST,
        smoothing: float = 5.0,
        batch_size: int = 8,
        reranker: PairScorer | str | Path | None = None,
        rerank_depth: int = DEPTH,
    ) -> None:
        check_fit(student, index, corpus)
        for name, value in (("beams", beams), ("widest", widest), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"{name} is {value}", "give at least 1")
        if not smoothing > 0:
            raise ConfigError(f"smoothing is {smoothing}", "give a number above 0")
        self.student = student
        self.index = index
        self.corpus = corpus
        self.beams = beams
        self.repeat = repeat
        self.widest = widest
        self.smoothing = smoothing
        self.batch_size = batch_size
        check_depth(rerank_depth)
        self.reranker = reranker_of(reranker)
        self.rerank_depth = rerank_depth

    def retrieve(self, messages: Messages | Conversation, k: int = 10) -> list[Hit]:
        """The k best passages for the open question of a conversation, best first.

        `Hit.terms` are the identifiers that found it, each with what it adds to the score, largest first.

        Args:
            messages: OpenAI-style messages, the last one the user's, or a `Conversation`.
            k: how many at most; fewer hold a key of positive weight.

        Raises:
            ConversationError: messages that are no conversation, or a blank question.
        """
        return self.retrieve_batch([messages], k)[0]

    def retrieve_batch(self, many: Sequence[Messages | Conversation], k: int = 10) -> list[list[Hit]]:
        """`retrieve` for many conversations, some written for together."""
        if not many:
            return []
        chats = [m if isinstance(m, Conversation) else Conversation.from_messages(m) for m in many]
        wanted = k if self.reranker is None else max(k, self.rerank_depth)
        hits = [self._hits(one, wanted) for one in self.score(chats)]
        return hits if self.reranker is None else rerank_hits(self.reranker, chats, hits, k)

    def score(self, conversations: Sequence[Conversation]) -> list[Scored]:
        """Every passage that holds a key of positive weight, for each conversation.

        Raises:
            ConversationError: a blank question.
        """
        made = []
        for first in range(0, len(conversations), self.batch_size):
            made += self._score(conversations[first : first + self.batch_size])
        return made

    def _score(self, conversations: Sequence[Conversation]) -> list[Scored]:
        import torch

        from distillir.students.key_weights import key_prior, key_weights

        parts = []
        for view in self.student.settings.views:
            if view.name not in self.index.views:  # a corpus that has no such text
                continue
            own = self.index.views[view.name]
            found = self.student.generate(conversations, view.name, own, beams=self.beams)
            counts = found.high - found.low
            prior = key_prior(torch.from_numpy(counts), self.index.tokens, self.smoothing)
            weights = key_weights(torch.from_numpy(found.log_probs), prior).numpy()
            kept = np.flatnonzero((counts <= self.widest) & (weights > 0))
            rows, passages = own.passages(Spans(found.low[kept], found.high[kept], 0))
            parts.append(
                Keys(
                    found.query[kept],
                    tuple(found.tokens[i] for i in kept),
                    (view.name,) * len(kept),
                    found.ended[kept],
                    prior.numpy()[kept],
                    weights[kept],
                    rows,
                    passages,
                )
            )
        return score_keys(joined(parts), len(conversations), self.index.passages, self.repeat)

    def close(self) -> None:
        """Nothing is held open; here so that all retrievers are used alike."""

    def _hits(self, scored: Scored, k: int) -> list[Hit]:
        hits = []
        for rank in range(min(k, len(scored.passages))):
            document = self.corpus.document(int(scored.passages[rank]))
            mine = scored.pairs_of(rank)
            keys = scored.keys.pair_key[mine]
            worth = scored.keys.weights[keys] * scored.factors[mine]
            terms = tuple(
                (str(self.student.tokenizer.decode(list(scored.keys.tokens[keys[i]]))).strip(), float(worth[i]))
                for i in np.argsort(-worth, kind="stable")
            )
            hits.append(
                Hit(document.id, float(scored.scores[rank]), document.text, document.title, terms, document.metadata)
            )
        return hits


def check_fit(student: GenerativeStudent, index: IdentifierIndex, corpus: Corpus) -> None:
    """Refuse what does not belong together; see `GenerativeRetriever`."""
    if index.tokenizer != student.reader.fingerprint():
        raise SearchIndexError(f"{index.folder} was built with another tokenizer", "build it with the student's")
    if (index.passages, index.stamp) != (len(corpus), stamp_of(corpus)):
        raise SearchIndexError(f"{index.folder} was built for another corpus", "build it for this one")
    both = [view for view in student.settings.views if view.name in index.views]
    if not both or any(index.views[view.name].view.whole != view.whole for view in both):
        written = ", ".join(view.name for view in student.settings.views)
        raise ConfigError(
            f"the student writes {written}, and the index has {', '.join(index.views)}", "build it with those views"
        )
