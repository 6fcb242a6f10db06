"""Batches of a reranker: tokens of every candidate's pair, and what a teacher said of the list.

Candidates come from the one sampler; the teacher's order or scores are looked up by document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from distillir.errors import TrainingError
from distillir.sampling import CandidateSampler
from distillir.students.reranker_batch import Pair, RerankBatch, token_batches
from distillir.training.listed import Kind, Labels, list_targets, listed

if TYPE_CHECKING:
    from distillir.students.reranker_pairs import PairReader

REMEMBERED = 1 << 16  # passages


class Passages(Protocol):
    """Texts by position; a `Corpus` is one."""

    def text(self, i: int, /) -> str: ...


@dataclass(frozen=True)
class RerankData:
    """Training contexts of a reranker.

    Attributes:
        names: context ids. queries: tokens of each conversation's side, as the reader makes them.
        passages: texts by position.
        sampler: draws a context's candidates.
        golds: positions of the relevant documents of each context, empty where none is known.
        labels: of each context, position → what the teacher said: a rank, 0 = best, or a score. None = no teacher:
            only golds are learnt from.
        reader: joins pairs.
        kind: what labels are. Candidates without a score leave the list; without a rank they stay and are unranked.
        rule: makes scores of ranks, see `rank_to_score`; without one an order gives no scores.
        budget: tokens of a chunk, padding included; a step holds the activations of one chunk at a time.

    Raises:
        TrainingError: counts that do not fit, or a rule for what are scores already.
    """

    names: Sequence[str]
    queries: Sequence[Sequence[int]]
    passages: Passages
    sampler: CandidateSampler
    golds: Sequence[NDArray[np.int64]]
    labels: Sequence[Mapping[int, float]] | None
    reader: PairReader
    kind: Kind = "order"
    rule: str | None = None
    budget: int = 8192
    lengths: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        labelled = len(self.names) if self.labels is None else len(self.labels)
        if len({len(self.names), len(self.queries), len(self.golds), labelled}) > 1:
            raise TrainingError(
                f"{len(self.names)} contexts, {len(self.queries)} token lists, {len(self.golds)} gold lists and "
                f"{labelled} labels",
                "give one of each a context, in the same order",
            )
        if self.rule is not None and self.kind == "scores":
            raise TrainingError(f"the rule {self.rule!r} makes scores of an order, and these are scores", "drop it")
        object.__setattr__(self, "lengths", [len(one) for one in self.queries])
        object.__setattr__(self, "_tokens", lru_cache(maxsize=REMEMBERED)(self._read))

    def collate(self, rows: Sequence[int], epoch: int) -> RerankBatch:
        """Contexts `rows` in `epoch` as a batch; a function of its arguments alone.

        Raises:
            TrainingError: no candidate of any of these contexts has a score.
        """
        lists = [
            listed(self.sampler(self.names[row], self.golds[row], epoch), self._said(row), self.kind, self.rule)
            for row in rows
        ]
        width = max(len(positions) for positions, _ in lists)
        if not width:
            raise TrainingError(
                f"no candidate of context {self.names[rows[0]]!r} has a label", "label the candidates that are drawn"
            )
        places = np.full((len(rows), width), -1, np.int64)
        pairs: list[Pair] = []
        for i, (row, (positions, _)) in enumerate(zip(rows, lists, strict=True)):
            places[i, : len(positions)] = np.arange(len(pairs), len(pairs) + len(positions))
            pairs += [self.reader.join(self.queries[row], self._passage(int(position))) for position in positions]
        chunks = token_batches([len(pair) for pair in pairs], self.budget)
        moved = np.empty(len(pairs), np.int64)
        moved[[i for chunk in chunks for i in chunk]] = np.arange(len(pairs))
        return RerankBatch(
            chunks=tuple(self.reader.pad([pairs[i] for i in chunk]) for chunk in chunks),
            candidates=torch.from_numpy(np.where(places >= 0, moved[places], -1)),
            targets=list_targets(
                lists, None if self.labels is None else [self.labels[row] for row in rows], self.kind, self.rule
            ),
            names=tuple(self.names[row] for row in rows),
        )

    def _said(self, row: int) -> Labels | None:
        return None if self.labels is None else self.labels[row]

    def _passage(self, position: int) -> tuple[int, ...]:
        found: tuple[int, ...] = self._tokens(position)  # type: ignore[attr-defined]
        return found

    def _read(self, position: int) -> tuple[int, ...]:
        return self.reader.passage(self.passages.text(position))
