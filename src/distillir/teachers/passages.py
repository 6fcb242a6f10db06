"""The passages that synthetic conversations visit, which of them are near each other, and a walk over them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from distillir.data import Document
from distillir.errors import DataError
from distillir.labels.words import words

NEAR = 5  # candidates for the next passage of a topic


class Step(NamedTuple):
    """One turn of a walk: its passage, and whether it goes on from the one before or opens another topic."""

    document: str
    goes_on: bool


class Passages:
    """Texts with ids and groups.

    Args:
        documents: passages; those with fewer than `least_words` words are left out, as they ground no question.
        least_words: of a passage.

    Raises:
        DataError: no passage is left, or two have one id.
    """

    def __init__(self, documents: Iterable[Document], least_words: int = 20) -> None:
        kept = [document for document in documents if len(words(document.text)) >= least_words]
        self.ids = [document.id for document in kept]
        self.texts = {document.id: document.contents for document in kept}
        self.groups = [document.group for document in kept]
        if not kept or len(self.texts) < len(kept):
            why = "two passages have one id" if kept else f"no passage has {least_words} words"
            raise DataError("documents", why, cure="give longer passages, each with an id of its own")
        self._place = {name: i for i, name in enumerate(self.ids)}

    def near(self, name: str) -> list[str]:
        """The passages next to one in its group, else those that share the most words with it, nearest first."""
        i = self._place[name]
        group = self.groups[i]
        if group:
            beside = [j for d in (1, 2) for j in (i + d, i - d) if 0 <= j < len(self.ids) and self.groups[j] == group]
            if beside:
                return [self.ids[j] for j in beside]
        likeness = (self._weights @ self._weights[[i]].T).toarray()[:, 0]
        likeness[i] = 0.0
        order = np.lexsort((np.arange(len(likeness)), -likeness))[:NEAR]
        return [self.ids[j] for j in order if likeness[j] > 0]

    def find(self, questions: Sequence[str], depth: int = 10) -> list[list[str]]:
        """The passages that share the most words with each question, best first: a plain lexical search."""
        vocabulary, rarity = self._words
        found = []
        for question in questions:
            known = Counter(place for word in words(question) if (place := vocabulary.get(word)) is not None)
            places = np.fromiter(known, np.int64, len(known))
            scores = self._weights[:, places] @ rarity[places] if len(places) else np.zeros(len(self.ids))
            order = np.lexsort((np.arange(len(scores)), -scores))[:depth]
            found.append([self.ids[i] for i in order if scores[i] > 0])
        return found

    @cached_property
    def _words(self) -> tuple[dict[str, int], NDArray[np.float64]]:
        """Word → column, and (words,) how rare each is."""
        frequency: Counter[str] = Counter()
        for text in self.texts.values():
            frequency.update(set(words(text)))
        vocabulary = {word: i for i, word in enumerate(frequency)}
        return vocabulary, np.log(1 + len(self.texts) / np.array(list(frequency.values()), np.float64))

    @cached_property
    def _weights(self) -> csr_array:
        """(passages, words) tf-idf, rows of length 1."""
        vocabulary, rarity = self._words
        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        for text in self.texts.values():
            counts = Counter(words(text))
            columns += [vocabulary[word] for word in counts]
            values += [1.0 + math.log(number) for number in counts.values()]
            ends.append(len(columns))
        weights = np.array(values) * rarity[columns]
        lengths = np.sqrt(np.add.reduceat(weights**2, ends[:-1]))
        weights /= np.repeat(lengths, np.diff(ends))
        return csr_array((weights, np.array(columns), np.array(ends)), shape=(len(self.ids), len(vocabulary)))


def walk(
    passages: Passages, turns: int, switch: float, seed: Sequence[int], taken: Collection[str] = ()
) -> tuple[Step, ...]:
    """Different passages, a turn each; the same seed walks the same way.

    Args:
        passages: to visit.
        turns: passages visited.
        switch: probability of leaving for any other passage; where no near one is left, the walk leaves as well.
        seed: of the random numbers.
        taken: passages that are not visited.

    Raises:
        DataError: fewer passages than turns.
    """
    free = {name: None for name in passages.ids if name not in taken}  # a set in order
    if len(free) < turns:
        raise DataError("documents", f"{len(free)} passages for {turns} turns", cure="give more, or fewer turns")
    rng = np.random.default_rng(list(seed))
    steps: list[Step] = []
    for _ in range(turns):
        stays = bool(steps) and float(rng.random()) >= switch
        near = [name for name in passages.near(steps[-1].document) if name in free] if stays else []
        choice = near or list(free)
        steps.append(Step(choice[int(rng.integers(len(choice)))], goes_on=bool(near)))
        del free[steps[-1].document]
    return tuple(steps)


def walks(passages: Passages, number: int, turns: int, switch: float, seed: int) -> tuple[tuple[Step, ...], ...]:
    """Several walks; they share passages only when there are too few for each to have its own.

    Raises:
        DataError: fewer passages than turns.
    """
    found: list[tuple[Step, ...]] = []
    taken: set[str] = set()
    for i in range(number):
        if len(passages.ids) - len(taken) < turns:
            taken.clear()
        found.append(walk(passages, turns, switch, [seed, i], taken))
        taken.update(step.document for step in found[-1])
    return tuple(found)
