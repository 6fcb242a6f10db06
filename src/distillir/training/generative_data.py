"""Batches of a generative student: identifiers of golds to write, and lists of passages that its keys score.

Which keys a context has, what they count for each passage and which passages are listed was settled before the
training; only how likely the keys are is computed anew in each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from distillir.data.views import View
from distillir.errors import TrainingError
from distillir.objectives.contract import Targets
from distillir.sampling import CandidateSampler, generator
from distillir.sampling.spans import sample_spans
from distillir.students.generative_batch import GenerativeBatch
from distillir.students.generative_prompt import PromptReader, pad
from distillir.training.listed import Kind, Labels, List, list_targets, listed


class IdentifierTexts(Protocol):
    """Tokens of passages' own texts; `index.IdentifierIndex` is one."""

    def texts(self, view: str, passage: int) -> Sequence[NDArray[np.int64]]:
        """Texts of a passage in a view."""
        ...


@dataclass(frozen=True, eq=False)
class GenerativeKeys:
    """What a student wrote for one context, as it was.

    Attributes:
        tokens: of each of K keys, an end token where it wrote one. views: (K,) of each.
        prior: (K,) see `students.key_weights`.
        pair_key, pair_passage, factors: (M,) each pair of a key and a passage that holds it, the passage's position in
            the corpus, and what of the key's weight counts.
        weights: (K,) as they were; where there are too many keys, the heaviest stay.
    """

    tokens: tuple[tuple[int, ...], ...]
    views: tuple[str, ...]
    prior: NDArray[np.float64]
    pair_key: NDArray[np.int64]
    pair_passage: NDArray[np.int64]
    factors: NDArray[np.float64]
    weights: NDArray[np.float64]

    def matrix(self, passages: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, K) factors of some passages, each named once; zero where no key is held."""
        made = np.zeros((len(passages), len(self.tokens)), np.float32)
        order = np.argsort(passages)
        at = np.searchsorted(passages[order], self.pair_passage)
        held = np.flatnonzero(at < len(passages))
        held = held[passages[order][at[held]] == self.pair_passage[held]]
        made[order[at[held]], self.pair_key[held]] = self.factors[held]
        return made


@dataclass(frozen=True)
class GenerativeData:
    """Training contexts of a generative student.

    Attributes:
        names: context ids.
        prompts: of each context, view → tokens. queries: (…) tokens of each one's conversation, for spans.
        golds: positions of relevant passages, empty where none is known.
        views: those whose likelihood is learnt, by weight; none = no token loss.
        texts: what golds are written as.
        reader, end: of the student: pads prompts; the end token.
        keys: of each context; None = nothing is scored, likelihood alone.
        sampler: draws passages to list; with `keys`.
        labels: of each context, position → what the teacher said; None = golds alone.
        kind, rule: see `RerankData`.
        spans: spans a context and epoch of a view of n-grams. temperature: see `sample_spans`.
        lists: lists a context and epoch, each drawn anew (DGR: 2).
        most_keys: keys a list, the heaviest.

    Raises:
        TrainingError: counts that do not fit, or nothing to learn.
    """

    names: Sequence[str]
    prompts: Sequence[Mapping[str, Sequence[int]]]
    queries: Sequence[Sequence[int]]
    golds: Sequence[NDArray[np.int64]]
    views: Sequence[View]
    texts: IdentifierTexts
    reader: PromptReader
    end: int
    seed: int = 0
    keys: Sequence[GenerativeKeys] | None = None
    sampler: CandidateSampler | None = None
    labels: Sequence[Labels] | None = None
    kind: Kind = "order"
    rule: str | None = None
    spans: int = 1
    temperature: float = 1.0
    lists: int = 1
    most_keys: int = 64
    lengths: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        counts = {len(self.names), len(self.prompts), len(self.queries), len(self.golds)}
        counts |= {len(one) for one in (self.keys, self.labels) if one is not None}
        if len(counts) > 1:
            raise TrainingError(
                f"{len(self.names)} contexts, and others {sorted(counts)}", "give one of each a context, in one order"
            )
        if (self.keys is None) != (self.sampler is None):
            raise TrainingError("keys score lists that a sampler draws", "give both or neither")
        if self.keys is None and not self.views:
            raise TrainingError("no view to write and no list to score", "give views, or keys and a sampler")
        if min(self.spans, self.lists, self.most_keys) < 1:
            raise TrainingError(
                f"spans {self.spans}, lists {self.lists}, most_keys {self.most_keys}", "give at least 1 each"
            )
        widths = [max(map(len, one.values()), default=0) for one in self.prompts]
        object.__setattr__(self, "lengths", [width for width in widths for _ in range(self.lists)])

    def collate(self, rows: Sequence[int], epoch: int) -> GenerativeBatch:
        """Contexts `rows` in `epoch` as a batch, each row one list of a context; a function of its arguments alone."""
        wanted = [(row // self.lists, epoch * self.lists + row % self.lists) for row in rows]
        lists = [self._listed(i, draw) for i, draw in wanted]
        width = max(len(positions) for positions, _ in lists)
        prompts: dict[tuple[int, str], int] = {}  # (row, view) → place
        written: list[tuple[int, ...]] = []
        prompt_of: list[int] = []
        share: list[float] = []
        found: list[tuple[NDArray[np.float32], list[tuple[int, int]], NDArray[np.float64]]] = []
        for b, ((i, draw), (positions, _)) in enumerate(zip(wanted, lists, strict=True)):
            for view, tokens, weight in self._gold_identifiers(i, draw):
                prompt_of.append(prompts.setdefault((b, view), len(prompts)))
                written.append(tokens)
                share.append(weight)
            if self.keys is None:
                continue
            keys = self.keys[i]
            matrix = keys.matrix(positions)
            chosen = np.flatnonzero(matrix.any(0))
            chosen = np.sort(chosen[np.argsort(-keys.weights[chosen], kind="stable")[: self.most_keys]])
            places: list[tuple[int, int]] = [(0, 0)] * len(chosen)
            for view, parts in _without_beginnings(keys, chosen).items():
                for tokens, members in parts:
                    for k in members:
                        places[k] = (len(written), len(keys.tokens[chosen[k]]))
                    prompt_of.append(prompts.setdefault((b, view), len(prompts)))
                    written.append(tokens)
                    share.append(0.0)
            found.append((matrix[:, chosen], places, keys.prior[chosen]))
        most = max((len(places) for _, places, _ in found), default=0)
        at = np.full((len(rows), most), -1, np.int64)
        size = np.zeros((len(rows), most), np.int64)
        prior = np.full((len(rows), most), -1.0, np.float32)
        factors = np.zeros((len(rows), width, most), np.float32)
        mask = np.zeros((len(rows), width), bool)
        for b, (matrix, places, base) in enumerate(found):
            at[b, : len(places)] = [place for place, _ in places]
            size[b, : len(places)] = [length for _, length in places]
            prior[b, : len(places)] = base
            factors[b, : len(matrix), : len(places)] = matrix
            mask[b, : len(matrix)] = True
        ids, prompt_mask = self.reader.pad([self.prompts[wanted[b][0]][view] for b, view in prompts])
        sequences, written_mask = pad(written, self.end)
        return GenerativeBatch(
            prompts=ids,
            prompt_mask=prompt_mask,
            context_of=torch.tensor([b for b, _ in prompts], dtype=torch.long),
            written=sequences,
            written_mask=written_mask,
            prompt_of=torch.tensor(prompt_of, dtype=torch.long),
            share=torch.tensor(share),
            keys=torch.from_numpy(at),
            key_length=torch.from_numpy(size),
            prior=torch.from_numpy(prior),
            factors=torch.from_numpy(factors),
            mask=torch.from_numpy(mask),
            targets=self._targets([i for i, _ in wanted], lists),
            names=tuple(self.names[i] for i, _ in wanted),
            likelihood=bool(self.views),
        )

    def _listed(self, i: int, draw: int) -> List:
        if self.sampler is None:
            return np.empty(0, np.int64), np.empty(0, bool)
        drawn = self.sampler(self.names[i], self.golds[i], draw)
        return listed(drawn, None if self.labels is None else self.labels[i], self.kind, self.rule)

    def _targets(self, contexts: Sequence[int], lists: Sequence[List]) -> Targets:
        labels = None if self.labels is None else [self.labels[i] for i in contexts]
        return list_targets(lists, labels, self.kind, self.rule)

    def _gold_identifiers(self, i: int, draw: int) -> list[tuple[str, tuple[int, ...], float]]:
        """(view, tokens, weight) of what is to be written of one gold; weights add up to one."""
        if not len(self.golds[i]) or not self.views:
            return []
        rng = generator(self.seed, draw, f"identifiers/{self.names[i]}")
        gold = int(self.golds[i][int(rng.integers(len(self.golds[i])))])
        made: list[tuple[str, tuple[int, ...], float]] = []
        for view in self.views:
            texts = self.texts.texts(view.name, gold)
            if not texts or not view.weight:
                continue
            text = texts[int(rng.integers(len(texts)))]
            if view.whole:
                made.append((view.name, (*text.tolist(), self.end), view.weight))
                continue
            spans = sample_spans(
                text, self.queries[i], view.length, rng, number=self.spans, temperature=self.temperature
            )
            made += [(view.name, tuple(span), view.weight / len(spans)) for span in spans]
        total = sum(weight for _, _, weight in made)
        return [(view, tokens, weight / total) for view, tokens, weight in made]


def _without_beginnings(
    keys: GenerativeKeys, chosen: NDArray[np.int64]
) -> dict[str, list[tuple[tuple[int, ...], list[int]]]]:
    """View → (sequence, keys that begin it): a key that another one begins with needs no sequence of its own."""
    made: dict[str, list[tuple[tuple[int, ...], list[int]]]] = {}
    order = sorted(range(len(chosen)), key=lambda k: (keys.views[chosen[k]], keys.tokens[chosen[k]]))
    for k in reversed(order):  # of a sequence and its beginnings, the sequence itself comes first
        tokens, parts = keys.tokens[chosen[k]], made.setdefault(keys.views[chosen[k]], [])
        if parts and parts[-1][0][: len(tokens)] == tokens:
            parts[-1][1].append(k)
        else:
            parts.append((tokens, [k]))
    return made
