"""Batches of a response student: tokens of contexts, of their own candidates, and of negatives all of them share.

Every own candidate is a positive. Negatives are drawn from the whole set, less what is a context's own; positives of
other contexts may be among them (G2R, arXiv 2108.12582).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from distillir.errors import TrainingError
from distillir.objectives.contract import Targets
from distillir.sampling.rng import generator
from distillir.students.batch import pad
from distillir.students.reranker_batch import token_batches
from distillir.students.response_batch import ResponseBatch, Texts

REMEMBERED = 1 << 16  # tokenised responses


class ResponseTexts(Protocol):
    """Texts by position; a `ResponseSet` or a `Corpus` is one."""

    def __len__(self) -> int: ...
    def text(self, i: int, /) -> str: ...


@dataclass(frozen=True)
class ResponseData:
    """Training contexts of a response student.

    Attributes:
        names: context ids. ids: their tokens.
        positives: positions of each context's own candidates, golds and generated ones alike.
        responses: the whole set.
        tokens: text of a response → its tokens, specials included.
        pad_id: of the tokenizer.
        scores: of each context, position → the teacher's score; candidates without one are not learnt from. None = no
            teacher.
        negatives: N, drawn anew for every batch. own: candidates a context has in a step at most, drawn among its own.
        seed: of both draws.
        budget: tokens of a chunk of responses, padding included.

    Raises:
        TrainingError: counts that do not fit, numbers below 1, or a context without a candidate to learn from.
    """

    names: Sequence[str]
    ids: Sequence[Sequence[int]]
    positives: Sequence[NDArray[np.int64]]
    responses: ResponseTexts
    tokens: Callable[[str], list[int]]
    pad_id: int
    scores: Sequence[Mapping[int, float]] | None = None
    negatives: int = 512
    own: int = 10
    seed: int = 0
    budget: int = 1 << 16
    lengths: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        scored = len(self.names) if self.scores is None else len(self.scores)
        if len({len(self.names), len(self.ids), len(self.positives), scored}) > 1:
            raise TrainingError(
                f"{len(self.names)} contexts, {len(self.ids)} token lists, {len(self.positives)} lists of candidates "
                f"and {scored} of scores",
                "give one of each a context, in the same order",
            )
        if min(self.negatives, self.own, self.budget) < 1:
            raise TrainingError(
                f"{self.negatives} negatives, {self.own} own candidates, {self.budget} tokens", "give 1 or more of each"
            )
        for row, name in enumerate(self.names):
            if not len(self.learnt(row)):
                raise TrainingError(f"context {name!r} has no candidate to learn from", "leave it out")
        object.__setattr__(self, "lengths", [len(one) for one in self.ids])
        object.__setattr__(self, "_tokens", lru_cache(maxsize=REMEMBERED)(self._read))

    def learnt(self, row: int) -> NDArray[np.int64]:
        """A context's own candidates that it can learn from."""
        every = self.positives[row]
        if self.scores is None:
            return every
        return every[[int(position) in self.scores[row] for position in every]]

    def collate(self, rows: Sequence[int], epoch: int) -> ResponseBatch:
        """Contexts `rows` in `epoch` as a batch; a function of its arguments alone."""
        lists = [self._drawn(row, epoch) for row in rows]
        negatives = self._negatives(rows, epoch)
        allowed = np.stack([~np.isin(negatives, self.positives[row]) for row in rows])
        unique = np.union1d(np.concatenate(lists), negatives)
        tokens = [self._tokens(int(position)) for position in unique]  # type: ignore[attr-defined]
        chunks = token_batches([len(one) for one in tokens], self.budget)
        moved = np.empty(len(unique), np.int64)
        moved[[i for chunk in chunks for i in chunk]] = np.arange(len(unique))
        width = max(map(len, lists))
        places = np.full((len(rows), width), -1, np.int64)
        told = np.full((len(rows), width), np.nan, np.float32)
        for i, (row, own) in enumerate(zip(rows, lists, strict=True)):
            places[i, : len(own)] = moved[np.searchsorted(unique, own)]
            if self.scores is not None:
                told[i, : len(own)] = [self.scores[row][int(position)] for position in own]
        ids, mask = pad([self.ids[row] for row in rows], self.pad_id)
        return ResponseBatch(
            ids=ids,
            mask=mask,
            chunks=tuple(Texts(*pad([tokens[i] for i in chunk], self.pad_id)) for chunk in chunks),
            candidates=torch.from_numpy(places),
            shared=torch.from_numpy(moved[np.searchsorted(unique, negatives)]),
            shared_mask=torch.from_numpy(allowed),
            targets=Targets(
                scores=None if self.scores is None else torch.from_numpy(told), gold=torch.from_numpy(places >= 0)
            ),
            names=tuple(self.names[row] for row in rows),
        )

    def _drawn(self, row: int, epoch: int) -> NDArray[np.int64]:
        every = self.learnt(row)
        if len(every) <= self.own:
            return every
        return generator(self.seed, epoch, self.names[row]).choice(every, self.own, replace=False)

    def _negatives(self, rows: Sequence[int], epoch: int) -> NDArray[np.int64]:
        """Positions of the negatives of a batch, ascending, each once."""
        # The batch is named by its contexts: whoever collates it, in whatever order, draws the same.
        batch = "\n".join(["negatives", *(self.names[row] for row in rows)])
        count = min(self.negatives, len(self.responses))
        return np.sort(generator(self.seed, epoch, batch).choice(len(self.responses), count, replace=False))

    def _read(self, position: int) -> list[int]:
        return self.tokens(self.responses.text(position))
