"""Which terms of a query search first, and how many documents they hand on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillir.errors import ConfigError
from distillir.vectors.two_phase import TwoPhase, heavy

WEIGHTS = st.lists(st.floats(2.0**-30, 2.0**30, width=32), max_size=20)


def test_terms_at_the_limit_are_heavy():
    assert heavy([4.0, 2.0, 1.0, 0.5], 0.5).tolist() == [True, True, False, False]
    assert heavy([], 0.5).tolist() == []
    # 0.1 in float32 is above 0.1: compared in float64, the second weight would be light.
    assert heavy(np.array([1.0, 0.1], np.float32), 0.1).tolist() == [True, True]


@given(WEIGHTS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_larger_ratio_leaves_fewer_terms_and_always_the_largest(weights, one, other):
    less, more = (heavy(weights, ratio) for ratio in sorted((one, other)))
    assert not (more & ~less).any()
    assert heavy(weights, 0).all()
    if weights:
        assert more[np.argmax(weights)]
        assert min(np.array(weights)[more]) > max(np.array(weights)[~more], default=0)


@given(WEIGHTS, st.floats(0, 1, exclude_max=True), st.integers(-20, 20))
def test_the_unit_of_the_weights_does_not_matter(weights, ratio, power):
    assert np.array_equal(heavy(weights, ratio), heavy(np.ldexp(np.array(weights, np.float32), power), ratio))


@given(st.integers(1, 10**5), st.floats(1, 100), st.integers(50, 10**6))
def test_the_window_holds_what_is_asked_for(size, rate, most):
    window = TwoPhase(expansion_rate=rate, max_window_size=most).window(size)
    assert window >= size
    assert window <= max(size, most)
    assert window <= max(size, size * rate)


def test_windows_by_hand():
    assert [TwoPhase().window(size) for size in (1, 10, 2000, 2001, 20_000)] == [5, 50, 10_000, 10_000, 20_000]
    assert TwoPhase(expansion_rate=1.5).window(3) == 4


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("prune_ratio", [-0.1, 1, 1.5, float("nan"), "0.4", None, True]),
        ("expansion_rate", [0.9, 0, -5, float("inf"), float("nan"), "5", True]),
        ("max_window_size", [49, 0, 1_000_001, 100.0, "100", None, True]),
    ],
)
def test_what_cannot_be_is_refused(option, values):
    for value in values:
        with pytest.raises(ConfigError, match=f"two phases: {option} is .* → use"):
            TwoPhase(**{option: value})
