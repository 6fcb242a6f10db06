"""What of a key counts for a passage: less, the more of its tokens better keys of that passage have brought already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillir.errors import ConfigError

REPEAT = 0.2  # share of its weight that a key keeps where all its tokens are known (SEAL, MINDER, LTRGR, DGR)


def coverage(
    passages: NDArray[np.int64],
    keys: NDArray[np.int64],
    weights: NDArray[np.float64],
    tokens: Sequence[Sequence[int]],
    repeat: float = REPEAT,
) -> NDArray[np.float64]:
    """Factor of each pair of a passage and a key that it holds: repeat + (1 − repeat) · share of uncovered tokens.

    A token is covered where a better key of the same passage has it, better by weight and, where weights are equal, by
    number. So the best key of a passage counts whole. The score of a passage is Σ weight · factor over its keys.

    Args:
        passages: (M,) of each pair. keys: (M,) of each pair; each pair once.
        weights: (K,) of each key. tokens: of each key.
        repeat: see above, 0 to 1.

    Returns:
        (M,) factors.

    Raises:
        ConfigError: `repeat` outside 0 to 1.
    """
    if not 0 <= repeat <= 1:
        raise ConfigError(f"repeat is {repeat}", "give a share from 0 to 1")
    if not len(passages):
        return np.empty(0)
    distinct = [np.unique(np.asarray(one, np.int64)) for one in tokens]
    sizes = np.array([len(one) for one in distinct])
    starts = np.cumsum(sizes) - sizes
    every = np.concatenate(distinct)
    order = np.lexsort((keys, -weights[keys], passages))  # passages apart, the best key of each first
    number = sizes[keys[order]]
    pair = np.repeat(np.arange(len(order)), number)  # one entry a pair and token
    token = every[np.arange(len(pair)) - np.repeat(np.cumsum(number) - number - starts[keys[order]], number)]
    passage = passages[order][pair]
    by_token = np.lexsort((pair, token, passage))
    new = np.ones(len(pair), bool)
    before, behind = by_token[:-1], by_token[1:]
    new[1:] = (passage[before] != passage[behind]) | (token[before] != token[behind])
    fresh = np.bincount(pair[by_token[new]], minlength=len(order))
    factors = np.empty(len(order))
    factors[order] = repeat + (1 - repeat) * fresh / np.maximum(number, 1)
    return factors


def passage_scores(
    passages: NDArray[np.int64], keys: NDArray[np.int64], weights: NDArray[np.float64], factors: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Passages, ascending and each once, and their scores."""
    found, place = np.unique(passages, return_inverse=True)
    return found, np.bincount(place, weights[keys] * factors, len(found)).astype(np.float64)
