"""Dense systems measured alike: a run of every way to turn a conversation into a query vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillir.conversation import Conversation
from distillir.data import Context, Run
from distillir.evaluation import Latency, SystemResult
from distillir.index.dense import DenseIndex
from distillir.recipes.dense_fit import dense_teacher_vectors
from distillir.recipes.measure import DEPTH, TestBed
from distillir.students.dense import DenseStudent
from distillir.vectors.dense import DenseVectors

DenseQueries = Callable[[Sequence[Context]], NDArray[np.float32]]


def dense_last_turn(encoder: DenseStudent) -> DenseQueries:
    """The open question alone."""
    return lambda contexts: encoder.encode_queries(
        [Conversation.from_pairs([], c.conversation.question) for c in contexts]
    )


def dense_conversation(encoder: DenseStudent) -> DenseQueries:
    """The whole conversation, as the encoder renders it."""
    return lambda contexts: encoder.encode_queries([c.conversation for c in contexts])


def dense_rewrites(
    encoder: DenseStudent, teachers: Mapping[str, float], folder: Path, start: DenseStudent | None = None
) -> DenseQueries:
    """The fused vector of the teachers a context has; see `dense_teacher_vectors`."""
    return lambda contexts: dense_teacher_vectors(encoder, contexts, teachers, folder, start)


@dataclass
class DenseTestBed(TestBed):
    """A `TestBed` whose documents are dense vectors."""

    documents: Mapping[str, DenseVectors]  # type: ignore[assignment]
    _indexes: dict[str, DenseIndex] = field(default_factory=dict)  # type: ignore[assignment]

    __test__ = False  # the name is the field's word, not a test class

    def measure(  # type: ignore[override]
        self, name: str, queries: DenseQueries, *, note: str = "", latency: Latency | None = None
    ) -> SystemResult:
        """Search every context in its own corpus."""
        vectors = queries(self.contexts)
        run: Run = {}
        for key in self.documents:
            rows = [i for i, c in enumerate(self.contexts) if self._key(c) == key]
            if not rows:
                continue
            found = self._index(key).search_batch(vectors[rows], DEPTH)
            for i, hits in zip(rows, found, strict=True):
                run[self.contexts[i].id] = {hit.id: hit.score for hit in hits}
        return SystemResult(name, run, latency=latency, note=note)

    def figure(self, queries: DenseQueries, measures: Sequence[str] = ("R@100", "nDCG@10")) -> float:  # type: ignore[override]
        """One number to select by: the mean of some measures."""
        return super().figure(queries, measures)  # type: ignore[arg-type]

    def _index(self, key: str) -> DenseIndex:  # type: ignore[override]
        if key not in self._indexes:
            self._indexes[key] = DenseIndex(self.documents[key])
        return self._indexes[key]
