"""Whatever holds something lets it go at the end of a `with`, also when that ends badly."""

import pytest

from distillir.closing import Closing


class Held(Closing):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_with_closes_once_and_lets_errors_through():
    with Held() as held:
        assert held.closed == 0
    assert held.closed == 1
    with pytest.raises(ValueError, match="mine"), held:
        raise ValueError("mine")
    assert held.closed == 2


def test_what_cannot_be_closed_cannot_be_made():
    with pytest.raises(TypeError, match="close"):
        type("Open", (Closing,), {})()
