"""Beam search that can only write what a collection holds, and keeps everything it wrote on the way.

`transformers.generate` with `IdentifierProcessor` finds the same beams. This search reads a prompt once instead of once
a beam, walks the constraint along instead of looking each prefix up, and returns the shorter identifiers on the way,
which score passages too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from distillir.data.views import View
from distillir.errors import ConfigError, ModelError
from distillir.students.decoder import extend, start


class Continuations(Protocol):
    """What follows each of Q n-grams: entries in rows, see `index.suffix_spans.Following`."""

    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def rows(self) -> NDArray[np.int64]: ...
    @property
    def tokens(self) -> NDArray[np.int64]: ...
    @property
    def spans(self) -> Any: ...
    @property
    def ends(self) -> NDArray[np.int64]: ...


class Constraint(Protocol):
    """Identifiers that may be written; an `index.ViewIndex` is one."""

    def start(self, queries: int = 1) -> Any:
        """Empty identifiers."""
        ...

    def following(self, spans: Any) -> Continuations:
        """What may follow."""
        ...


@dataclass(frozen=True)
class Found:
    """K identifiers that were written for some queries.

    Attributes:
        query: (K,) which query each is for. tokens: of each, without an end token.
        log_probs: (K,) ln P(identifier | query), of the end token too where `ended`.
        low, high: (K,) their spans in the suffix array, those of whole texts only the texts that end there.
        ended: (K,) whether the end was written.
    """

    query: NDArray[np.int64]
    tokens: tuple[tuple[int, ...], ...]
    log_probs: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    ended: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tokens)


class _Kept:
    """Identifiers as they are found."""

    def __init__(self) -> None:
        self.tokens: list[tuple[int, ...]] = []
        self.parts: list[tuple[NDArray[Any], ...]] = []

    def add(
        self,
        query: NDArray[np.int64],
        tokens: NDArray[np.int64],
        log_probs: NDArray[np.float64],
        low: NDArray[np.int64],
        high: NDArray[np.int64],
        ended: bool,
    ) -> None:
        self.tokens += map(tuple, tokens.tolist())
        self.parts.append((query, log_probs, low, high, np.full(len(query), ended)))

    def found(self) -> Found:
        none = np.empty(0, np.int64)
        parts = self.parts or [(none, np.empty(0), none, none, np.empty(0, bool))]
        query, log_probs, low, high, ended = (np.concatenate(one) for one in zip(*parts, strict=True))
        return Found(query, tuple(self.tokens), log_probs, low, high, ended)


def beam_search(
    model: PreTrainedModel, ids: Tensor, mask: Tensor, constraint: Constraint, view: View, *, beams: int, end: int
) -> Found:
    """The `beams` likeliest identifiers of each of B prompts, and those met on the way.

    Of whole texts, each that a beam reaches the end of is kept, with the probability of the end token. Of others, what
    has `view.length` tokens or cannot go on is kept. With `view.least`, so is every beam from that length on.
    Probabilities are the model's own: what the constraint forbids keeps its share.

    Args:
        model: of either kind.
        ids, mask: (B, P) prompts.
        constraint: what may be written.
        view: lengths, and whether identifiers are whole texts.
        beams: width.
        end: the end token.

    Raises:
        ConfigError: no beam. ModelError: probabilities that are not finite.
    """
    if beams < 1:
        raise ConfigError(f"beams is {beams}", "give at least 1")
    state, logits = start(model, ids, mask)
    kept, count = _Kept(), len(ids)
    query = np.arange(count)
    tokens = np.empty((count, 0), np.int64)
    total = np.zeros(count)
    bar = np.full(count, -np.inf)  # what cannot pass it any more is no beam
    complete: list[list[float]] = [[] for _ in range(count)]
    spans = constraint.start(count)
    behind = constraint.following(spans)
    for length in range(view.length + 1):
        log_probs = logits.float().log_softmax(-1)  # (R, V)
        if log_probs.isnan().any():
            raise ModelError("the student's probabilities are not finite", "its weights are damaged; load it again")
        if view.whole:
            done = np.flatnonzero(behind.ends)
            ended = total[done] + log_probs[torch.from_numpy(done).to(ids.device), end].cpu().double().numpy()
            stop = spans.low[done] + behind.ends[done]  # in a span, texts that end stand first
            kept.add(query[done], tokens[done], ended, spans.low[done], stop, True)
            for q, value in zip(query[done].tolist(), ended.tolist(), strict=True):
                complete[q] = sorted([*complete[q], value], reverse=True)[:beams]
                if len(complete[q]) == beams:
                    bar[q] = complete[q][-1]
        if length == view.length or not len(behind.tokens):
            break
        rows = behind.rows
        row, token = (torch.from_numpy(one).to(ids.device) for one in (rows, behind.tokens))
        reached = total[rows] + log_probs[row, token].cpu().double().numpy()
        chosen = _best(query[rows], reached, bar, beams)
        if not len(chosen):
            break
        at = rows[chosen]
        query, total, spans = query[at], reached[chosen], behind.spans.take(chosen)
        tokens = np.concatenate([tokens[at], behind.tokens[chosen][:, None]], 1)
        last = length + 1 == view.length and not view.whole
        if not last:
            behind = constraint.following(spans)
        counted = np.full(len(chosen), last or (view.least is not None and length + 1 >= view.least))
        if not (last or view.whole):
            counted |= np.diff(behind.offsets) == 0
        some = np.flatnonzero(counted)
        kept.add(query[some], tokens[some], total[some], spans.low[some], spans.high[some], False)
        if last:
            break
        state = state.rows(torch.from_numpy(at).to(ids.device))
        logits = extend(model, state, torch.from_numpy(tokens[:, -1:]).to(ids.device))[:, -1]
    return kept.found()


def _best(
    query: NDArray[np.int64], reached: NDArray[np.float64], bar: NDArray[np.float64], beams: int
) -> NDArray[np.int64]:
    """Entries of the `beams` largest of each query that pass its bar, queries in order; `query` is ascending."""
    found = []
    for q in np.unique(query):
        first, last = np.searchsorted(query, [q, q + 1])
        own = reached[first:last]
        some = np.argpartition(-own, beams)[:beams] if len(own) > beams else np.arange(len(own))
        some = some[own[some] > bar[q]]
        found.append(first + some[np.lexsort((some, -own[some]))])
    return np.concatenate(found) if found else np.empty(0, np.int64)
