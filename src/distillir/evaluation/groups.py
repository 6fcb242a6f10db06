"""Turn depth: how deep into its conversation a query stands, in a few buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distillir.errors import EvaluationError

DEFAULT_EDGES = (1, 2, 3, 4, 5, 6)


def bucket_labels(edges: Sequence[int] = DEFAULT_EDGES) -> tuple[str, ...]:
    """Names of the buckets that start at the given depths: `1 2 3 4 5 6+`, or `1–3 4–7 8+` for (1, 4, 8).

    Raises:
        EvaluationError: no edge, or edges that do not rise.
    """
    if not edges or any(low >= high for low, high in pairwise(edges)):
        raise EvaluationError(f"turn-depth edges {tuple(edges)} do not rise", "use for example (1, 2, 3, 4, 5, 6)")
    spans = pairwise(edges)
    return (*(str(a) if b == a + 1 else f"{a}–{b - 1}" for a, b in spans), f"{edges[-1]}+")


def bucket_index(
    query_ids: Sequence[str], depth: Mapping[str, int], edges: Sequence[int] = DEFAULT_EDGES
) -> NDArray[np.int64]:
    """(Q,) number of the bucket that each query falls into.

    Args:
        query_ids: (Q,) queries.
        depth: 1-based turn depth of each query: 1 is the first question of a conversation.
        edges: the first depth of each bucket; the last bucket is open.

    Raises:
        EvaluationError: a query without a depth, or with one below the first edge.
    """
    bucket_labels(edges)
    unknown = [qid for qid in query_ids if qid not in depth]
    if unknown:
        raise EvaluationError(
            f"{len(unknown)} of {len(query_ids)} queries have no turn depth, first {unknown[0]!r}",
            "give the depth of every judged query",
        )
    depths = np.fromiter((depth[qid] for qid in query_ids), dtype=np.int64, count=len(query_ids))
    if depths.size and depths.min() < edges[0]:
        qid = query_ids[int(depths.argmin())]
        raise EvaluationError(
            f"query {qid!r} has turn depth {depths.min()}, below the first bucket ({edges[0]})",
            "depths count from 1, the first question of a conversation",
        )
    return np.searchsorted(np.asarray(edges), depths, side="right").astype(np.int64) - 1
