"""What one retriever returned for one context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SamplingError


@dataclass(frozen=True, eq=False)
class Ranking:
    """Retrieved documents of one context, best first; rank 1 is index 0.

    Attributes:
        positions: (N,) int64, rows of the corpus, each once.
        scores: (N,) float32, finite; in a merged ranking each on the scale of the retriever that brought it.
        found_by: (N,) uint8 in a merged ranking, else None; bit r is set where retriever r found the document.

    Raises:
        SamplingError: on other shapes or types, repeated or negative positions, scores that are not finite.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    found_by: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        expected = {"positions": np.dtype(np.int64), "scores": np.dtype(np.float32), "found_by": np.dtype(np.uint8)}
        for field, dtype in expected.items():
            values = getattr(self, field)
            if values is None and field == "found_by":
                continue
            if not isinstance(values, np.ndarray) or values.dtype != dtype or values.ndim != 1:
                got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
                raise SamplingError(f"{field} of a ranking are {got}", f"give a one-dimensional {dtype} array")
            if len(values) != len(self.positions):
                raise SamplingError(
                    f"a ranking has {len(self.positions)} positions but {len(values)} {field}",
                    "give one value per document",
                )
        if not np.isfinite(self.scores).all():
            rank = int(np.argmin(np.isfinite(self.scores))) + 1
            raise SamplingError(f"the score at rank {rank} is {self.scores[rank - 1]}", "retrieve this context again")
        if len(self) and int(self.positions.min()) < 0:
            raise SamplingError(
                f"a ranking holds position {int(self.positions.min())}", "drop the retriever's padding entries"
            )
        if len(np.unique(self.positions)) != len(self):
            raise SamplingError("a ranking holds a document twice", "keep the better rank of each document")

    def __len__(self) -> int:
        return len(self.positions)
