"""Spans of a passage to write: more often those that share words with the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import ConfigError


def overlaps(text: ArrayLike, query: ArrayLike, length: int) -> NDArray[np.int64]:
    """How many of its tokens each span of `length` tokens shares with a query, by where it begins.

    Args:
        text: (L,) token ids. query: token ids. length: of a span; a shorter text is its only span.
    """
    shared = np.isin(np.asarray(text), np.asarray(query)).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(shared)])
    size = min(length, len(shared))
    found: NDArray[np.int64] = total[size:] - total[: len(total) - size]
    return found


def sample_spans(
    text: ArrayLike,
    query: ArrayLike,
    length: int,
    rng: np.random.Generator,
    *,
    number: int = 1,
    temperature: float = 1.0,
) -> list[Sequence[int]]:
    """Spans drawn with probability ∝ exp(overlap / temperature), each place at most once (SEAL, MINDER).

    Args:
        text: (L,) token ids of the passage. query: token ids.
        length: tokens of a span.
        rng: see `generator`.
        number: how many; fewer where the text is too short.
        temperature: small ones take the best overlap, large ones any place.

    Raises:
        ConfigError: a temperature of zero or below.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}", "give a positive number")
    tokens = np.asarray(text)
    if not len(tokens):
        return []
    logits = overlaps(tokens, query, length) / temperature
    # The largest of logits with Gumbel noise are a draw without replacement by softmax.
    noisy = logits + rng.gumbel(size=len(logits))
    starts = np.argsort(-noisy, kind="stable")[:number]
    return [tokens[start : start + length].tolist() for start in starts.tolist()]
