"""Weights of penalties over a run."""

import math

import pytest

from distillir.errors import ConfigError
from distillir.sparsity import SCHEDULES, Constant, Linear, Quadratic


def test_values_by_hand():
    assert [Constant(0.4)(t) for t in (0, 0.5, 1)] == [0.4, 0.4, 0.4]
    assert [Linear(2.0, 0.5)(t) for t in (0, 0.25, 0.5, 1)] == [0, 1, 2, 2]
    assert [Quadratic(2.0, 0.5)(t) for t in (0, 0.25, 0.5, 1)] == [0, 0.5, 2, 2]


def test_splades_ramp():
    """λ·(t/T)² up to step T = 50,000 of 150,000."""
    assert Quadratic(0.1)(20_000 / 150_000) == pytest.approx(0.1 * (20 / 50) ** 2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_cannot_be(name, weight):
    with pytest.raises(ConfigError, match="weight"):
        SCHEDULES[name](weight)


@pytest.mark.parametrize("ramp", [0.0, -0.5, 1.5, math.nan])
def test_ramps_that_cannot_be(ramp):
    for schedule in (Linear, Quadratic):
        with pytest.raises(ConfigError, match="ramp"):
            schedule(1.0, ramp)
