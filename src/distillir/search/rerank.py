"""The second stage: what was found is scored again, conversation and passage read together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from distillir.conversation import Conversation
from distillir.data.conversations import Context
from distillir.data.runs import Run, ranked
from distillir.errors import ConfigError, DataError

if TYPE_CHECKING:
    from distillir.search.retriever import Hit

DEPTH = 50


class PairScorer(Protocol):
    """What a reranker must be able to do; a `students.Reranker` is one."""

    def predict(self, pairs: Sequence[tuple[Conversation, str]]) -> NDArray[np.float32]:
        """(R,) one score a pair, larger is better."""
        ...


def reranker_of(given: PairScorer | str | Path | None) -> PairScorer | None:
    """A reranker as it is, or opened from its folder or model id.

    Raises:
        ModelError: no reranker there.
    """
    if not isinstance(given, str | Path):
        return given
    from distillir.students import load_reranker  # loads torch

    return load_reranker(given)


def check_depth(depth: int) -> None:
    """Refuse a depth of nothing.

    Raises:
        ConfigError: below 1.
    """
    if depth < 1:
        raise ConfigError(f"rerank_depth is {depth}", "rerank at least one document")


def rerank_hits(
    scorer: PairScorer, conversations: Sequence[Conversation], found: Sequence[Sequence[Hit]], k: int
) -> list[list[Hit]]:
    """The k best hits of each conversation by the reranker's scores, which they carry; ties stay in their order."""
    pairs = [
        (conversation, _text(hit.title, hit.text))
        for conversation, hits in zip(conversations, found, strict=True)
        for hit in hits
    ]
    scores = iter(scorer.predict(pairs).tolist() if pairs else [])
    scored = [[replace(hit, score=next(scores)) for hit in hits] for hits in found]
    return [sorted(hits, key=lambda hit: -hit.score)[:k] for hits in scored]


def rerank_run(
    scorer: PairScorer, run: Run, contexts: Iterable[Context], texts: Mapping[str, str], depth: int = DEPTH
) -> Run:
    """A run whose first `depth` documents stand in the reranker's order; the others follow as they were.

    Args:
        scorer: the reranker.
        run: what a retriever found.
        contexts: conversations of the run's queries; queries that have none are left out.
        texts: document id → text.
        depth: documents scored a query.

    Raises:
        DataError: the run has none of the contexts, or a document without text.
        ConfigError: `depth` below 1.
    """
    check_depth(depth)
    asked = [context for context in contexts if run.get(context.id)]
    if not asked:
        raise DataError("run", "it has results for none of the contexts", cure="check that the ids belong together")
    lists = [[name for name, _ in ranked(run[context.id])] for context in asked]
    pairs = []
    for context, names in zip(asked, lists, strict=True):
        for name in names[:depth]:
            if name not in texts:
                raise DataError("corpus", f"no document {name!r}, a result of {context.id!r}", cure="check the files")
            pairs.append((context.conversation, texts[name]))
    scores = scorer.predict(pairs).tolist()
    made: Run = {}
    start = 0
    for context, names in zip(asked, lists, strict=True):
        head, tail = names[:depth], names[depth:]
        own = scores[start : start + len(head)]
        start += len(head)
        lowest = min(own)
        made[context.id] = dict(zip(head, own, strict=True))
        made[context.id] |= {name: lowest - i for i, name in enumerate(tail, start=1)}
    return made


def _text(title: str, text: str) -> str:
    return f"{title} {text}" if title else text
