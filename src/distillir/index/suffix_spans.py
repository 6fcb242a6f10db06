"""What a suffix array answers with: n-grams as spans of it, and what follows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Spans:
    """Q n-grams of one length as spans of the suffix array.

    Attributes:
        low, high: (Q,) int64, `high` excluded; equal where the n-gram does not occur.
        depth: tokens of each, the border of whole texts included.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    depth: int

    def __len__(self) -> int:
        return len(self.low)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(Q,) how often each occurs."""
        return self.high - self.low

    def take(self, rows: ArrayLike) -> Spans:
        """Those of some rows."""
        chosen = np.asarray(rows, np.int64)
        return Spans(self.low[chosen], self.high[chosen], self.depth)


@dataclass(frozen=True, eq=False)
class Following:
    """What follows each of Q n-grams.

    Attributes:
        offsets: (Q + 1,) where each one's entries begin. tokens: (M,) token ids, ascending within a row.
        counts: (M,) how often each follows. spans: of the n-grams that are one token longer, (M,).
        ends: (Q,) how often a text ends there.
    """

    offsets: NDArray[np.int64]
    tokens: NDArray[np.int64]
    spans: Spans
    ends: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        return self.spans.counts

    @property
    def rows(self) -> NDArray[np.int64]:
        """(M,) which n-gram each entry belongs to."""
        return np.repeat(np.arange(len(self.ends)), np.diff(self.offsets))

    def row(self, i: int) -> dict[int, int]:
        """Token id → count."""
        own = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return dict(zip(self.tokens[own].tolist(), self.counts[own].tolist(), strict=True))
