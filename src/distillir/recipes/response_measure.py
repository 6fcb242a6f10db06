"""What a response student is worth: hits among candidates, ranks in the whole set, variety, and when to say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.data import Context, ResponseSet
from distillir.errors import DataError
from distillir.evaluation import RiskCoverage, distinct, hits_among, mean_length, risk_coverage
from distillir.students import ResponseStudent
from distillir.vectors.dense import nearest_in

DEPTH = 100
AMONG = (10, 100)
_BLOCK = 1 << 14


@dataclass(frozen=True)
class ResponseTestBed:
    """Contexts with a gold in the set.

    Attributes:
        contexts: those that count. golds: positions of each one's golds, the first of them the one that is looked for.
        responses: the whole set. count: how many of its first responses are gold.
        dropped: contexts without a gold in the set.
    """

    contexts: tuple[Context, ...]
    golds: tuple[tuple[int, ...], ...]
    responses: ResponseSet
    count: int
    dropped: int

    @classmethod
    def of(cls, contexts: Sequence[Context], responses: ResponseSet, count: int, name: str) -> ResponseTestBed:
        """The contexts of a split.

        Raises:
            DataError: none of them has a gold in the set.
        """
        golds = [
            tuple(p for p in (responses.position(one) for one in c.relevant if one in responses) if p < count)
            for c in contexts
        ]
        rows = [i for i, own in enumerate(golds) if own]
        if not rows:
            raise DataError(name, "no context has a response of the set", cure="check that both belong together")
        kept = tuple(contexts[i] for i in rows)
        return cls(kept, tuple(golds[i] for i in rows), responses, count, len(contexts) - len(rows))

    def texts(self, *, gold: bool = False) -> list[str]:
        """What the set says, or only its golds."""
        return [self.responses.text(i) for i in range(self.count if gold else len(self.responses))]

    def figure(self, student: ResponseStudent, candidates: int = 20) -> float:
        """hits@1 of a context's gold among golds of other contexts; what a training is selected by."""
        pool = sorted({own[0] for own in self.golds})
        place = {position: i for i, position in enumerate(pool)}
        asked = student.encode_queries([c.conversation for c in self.contexts])
        said = student.encode_responses([self.responses.text(i) for i in pool])
        own = [[place[p] for p in golds if p in place] for golds in self.golds]
        most = len(pool) - max(map(len, own)) + 1
        if most < 2:
            return 0.0
        (hits,) = hits_among(asked, said, own, candidates=min(candidates, most)).values()
        return float(hits.mean())

    def measure(self, student: ResponseStudent) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
        """The run over the golds, and hits among candidates, variety and length of what is said from the whole set."""
        asked = student.encode_queries([c.conversation for c in self.contexts])
        said = student.encode_responses(self.texts())
        rows, scores = best(asked, said[: self.count], DEPTH)
        run = {
            c.id: {self.responses[int(row)].id: float(score) for row, score in zip(found, values, strict=True)}
            for c, found, values in zip(self.contexts, rows, scores, strict=True)
        }
        figures: dict[str, Any] = {}
        widest = self.count - max(len(set(own)) for own in self.golds) + 1
        for candidates in AMONG:
            if 2 <= candidates <= widest:
                at = (1, 10) if candidates > 10 else (1,)
                found = hits_among(asked, said[: self.count], self.golds, candidates=candidates, at=at)
                figures |= {name: float(hits.mean()) for name, hits in found.items()}
        first, _ = best(asked, said, 1)
        texts = [self.responses.text(int(row)) for row in first[:, 0]]
        figures |= {f"Dist-{n}": distinct(texts, n) for n in (2, 3)} | {"words": mean_length(texts)}
        return run, figures

    def curve(self, student: ResponseStudent) -> RiskCoverage:
        """Risk and coverage of the best response of the whole set: right where it is a gold of the context."""
        asked = student.encode_queries([c.conversation for c in self.contexts])
        rows, scores = best(asked, student.encode_responses(self.texts()), 1)
        right = [int(row) in own for row, own in zip(rows[:, 0], self.golds, strict=True)]
        return risk_coverage(scores[:, 0], right)

    def qrels(self) -> Mapping[str, Mapping[str, int]]:
        """Golds of each context."""
        return {c.id: {self.responses[p].id: 1 for p in own} for c, own in zip(self.contexts, self.golds, strict=True)}


def best(
    asked: NDArray[np.float32], said: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions (Q, K) and scores (Q, K) of the k best, exactly."""

    def blocks() -> Iterator[tuple[int, NDArray[np.float32]]]:
        for start in range(0, len(said), _BLOCK):
            yield start, said[start : start + _BLOCK]

    return nearest_in(blocks, asked, min(k, len(said)))
