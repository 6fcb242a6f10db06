"""Systems measured alike: a run, active dimensions and FLOPS of every query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from distillir.data import Context, Run
from distillir.errors import DataError
from distillir.evaluation import Latency, SystemResult, active_dims, evaluate, flops_per_query, measure_latency
from distillir.index import SparseQuery
from distillir.index.exact import ExactIndex
from distillir.recipes.systems import Queries
from distillir.vectors import SparseVectors

DEPTH = 100  # documents a query: the deepest measure is R@100


@dataclass
class TestBed:
    """Contexts with judgements and the corpus each is searched in.

    Attributes:
        contexts: those with at least one relevant document; others are left out.
        documents: domain → vectors; the key "" serves every domain that has none of its own.

    Raises:
        DataError: no judged context, or one whose domain has no documents.
    """

    contexts: Sequence[Context]
    documents: Mapping[str, SparseVectors]
    _indexes: dict[str, ExactIndex] = field(default_factory=dict)

    __test__ = False  # the name is the field's word, not a test class

    def __post_init__(self) -> None:
        self.contexts = [c for c in self.contexts if c.relevant]
        if not self.contexts:
            raise DataError("contexts", "none names a relevant document", cure="give `relevant` ids to measure by")
        for context in self.contexts:
            if self._key(context) not in self.documents:
                known = ", ".join(sorted(self.documents))
                raise DataError(
                    context.source or "contexts",
                    f"context {context.id!r} is to be searched in {context.domain!r}, which has no documents",
                    cure=f"use one of {known}",
                )

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Judgements."""
        return {c.id: dict(c.relevant) for c in self.contexts}

    @property
    def depth(self) -> dict[str, int]:
        """Turn of each query."""
        return {c.id: c.conversation.depth for c in self.contexts}

    @property
    def group(self) -> dict[str, str]:
        """Conversation of each query."""
        return {c.id: c.group for c in self.contexts}

    @property
    def corpus(self) -> dict[str, str]:
        """Corpus of each query."""
        return {c.id: self._key(c) or "corpus" for c in self.contexts}

    def measure(self, name: str, queries: Queries, *, note: str = "", latency: Latency | None = None) -> SystemResult:
        """Search every context in its own corpus."""
        vectors = queries(self.contexts)
        active = active_dims(vectors)
        run: Run = {}
        flops: dict[str, float] = {}
        for key, documents in self.documents.items():
            rows = [i for i, c in enumerate(self.contexts) if self._key(c) == key]
            if not rows:
                continue
            found = self._index(key).search_batch([SparseQuery(*vectors.row(i)) for i in rows], DEPTH)
            shares = flops_per_query(vectors, documents.document_frequency(), len(documents))
            for i, hits in zip(rows, found, strict=True):
                run[self.contexts[i].id] = {hit.id: hit.score for hit in hits}
                flops[self.contexts[i].id] = float(shares[i])
        counts = {c.id: float(n) for c, n in zip(self.contexts, active, strict=True)}
        return SystemResult(name, run, latency=latency, active=counts, flops=flops, note=note)

    def figure(self, queries: Queries, measures: Sequence[str] = ("R@100", "nDCG@10")) -> float:
        """One number to select by: the mean of some measures."""
        scored = evaluate(self.measure("dev", queries).run, self.qrels, measures)
        return sum(scored.means.values()) / len(measures)

    def _key(self, context: Context) -> str:
        return context.domain if context.domain in self.documents else ""

    def _index(self, key: str) -> ExactIndex:
        if key not in self._indexes:
            self._indexes[key] = ExactIndex.over(self.documents[key])
        return self._indexes[key]


def one_by_one(search: Callable[[Context], object], contexts: Sequence[Context], *, limit: int = 50) -> Latency:
    """Latency of one query at a time, encoding included."""
    return measure_latency(search, list(contexts)[:limit], warmup=5, repeats=3)
