"""Spans by overlap."""

import numpy as np
import pytest

from distillir.errors import ConfigError
from distillir.sampling.spans import overlaps, sample_spans


def test_overlaps_by_hand():
    assert overlaps([1, 2, 3, 2, 9], [2, 3], 2).tolist() == [1, 2, 2, 1]
    assert overlaps([1, 2], [2], 5).tolist() == [1]
    assert overlaps([1, 2, 3], [], 2).tolist() == [0, 0]


def test_spans_are_drawn_by_the_softmax_of_their_overlap():
    rng = np.random.default_rng(5)
    drawn = [tuple(sample_spans([1, 2, 3, 4], [3, 4], 2, rng)[0]) for _ in range(4000)]
    weights = np.exp([0, 1, 2])
    for span, expected in zip([(1, 2), (2, 3), (3, 4)], weights / weights.sum(), strict=True):
        assert drawn.count(span) / 4000 == pytest.approx(expected, abs=0.03)
    cold = [sample_spans([1, 2, 3, 4], [3, 4], 2, rng, temperature=0.01)[0] for _ in range(20)]
    assert cold == [[3, 4]] * 20


def test_places_come_once_and_short_texts_whole():
    rng = np.random.default_rng(0)
    assert sorted(sample_spans([1, 2, 3, 4], [], 2, rng, number=9)) == [[1, 2], [2, 3], [3, 4]]
    assert sample_spans([7, 8], [], 10, rng) == [[7, 8]]
    assert sample_spans([], [1], 10, rng) == []
    with pytest.raises(ConfigError, match="temperature"):
        sample_spans([1], [1], 1, rng, temperature=0.0)
