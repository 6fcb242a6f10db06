"""Random passages in lists: negatives that are told apart without having understood much.

An encoder that has never read two texts together starts where every score is the same. Hard negatives alone leave it
there for thousands of steps; among random ones it finds within tens of steps that shared words and topics matter.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distillir.recipes.rerank_fit import RerankLabelled
from distillir.sampling import RankedPool, Ranking
from distillir.sampling.rng import generator


def with_strangers(
    labelled: RerankLabelled, passages: int, count: int, seed: int = 0, *, alone: bool = False
) -> RerankLabelled:
    """Lists with random passages behind what retrievers found, each list its own.

    Args:
        labelled: queries with candidates.
        passages: how many the corpus holds.
        count: drawn a query; those that are a gold or in the list already are left out, so fewer may come.
        seed: of the draw.
        alone: in place of what retrievers found.
    """
    longer = []
    for context, golds in zip(labelled.contexts, labelled.golds, strict=True):
        found = labelled.pool[context.id].positions
        drawn = generator(seed, 0, context.id).choice(passages, size=min(count, passages), replace=False)
        fresh = drawn[~np.isin(drawn, np.concatenate([found, golds]))].astype(np.int64)
        positions = fresh if alone else np.concatenate([found, fresh])
        longer.append((context.id, Ranking(positions, -np.arange(len(positions), dtype=np.float32))))
    return replace(labelled, pool=RankedPool.build(longer))
