"""Money: exact, and never more than allowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import ConfigError, LabelError
from distillir.teachers import SECONDS, Prices, Usage
from distillir.teachers.prices import Budget, Meter


def test_the_price_of_usage():
    prices = Prices(input=2.0, output=8.0, call=0.001, per_second=0.01)
    # 1,500 tokens at 2 a million, 250 at 8 a million, 2 calls, 3 seconds
    assert prices.cost(Usage(1500, 250, 3.0, calls=2, attempts=5)) == pytest.approx(0.003 + 0.002 + 0.002 + 0.03)
    assert SECONDS.cost(Usage(1500, 250, 3.0, calls=2)) == 3.0
    assert SECONDS.currency == "s"


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_prices_and_budgets_that_are_none_are_refused(amount):
    with pytest.raises(LabelError, match="prices"):
        Prices(input=amount)
    with pytest.raises(ConfigError, match="a second"):
        Prices(per_second=amount)
    with pytest.raises(ConfigError, match="a budget of"):
        Budget(amount)


def test_a_budget_is_used_up_to_the_last_cent():
    budget = Budget(0.3)
    assert budget.reserve(0.1)
    assert budget.reserve(0.1)
    assert budget.reserve(0.1)  # 0.1 + 0.1 + 0.1 > 0.3 in floats
    assert not budget.reserve(0.001)
    budget.settle(0.1, 0.05)
    assert budget.reserve(0.05)
    assert (budget.spent, round(budget.reserved, 12)) == (0.05, 0.25)


def test_without_a_limit_everything_is_allowed_and_counted():
    budget = Budget()
    assert budget.reserve(1e12)
    budget.settle(1e12, 5.0)
    assert (budget.spent, budget.reserved) == (5.0, 0.0)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 100),
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1)), max_size=30),
    st.lists(st.integers(0, 29), max_size=30),
)
def test_a_budget_is_never_passed_whatever_the_order(limit, calls, order):
    budget, open_ = Budget(limit), []
    for i, (amount, share) in enumerate(calls):
        if budget.reserve(amount):
            open_.append((amount, share * amount))
        if open_ and i < len(order):
            budget.settle(*open_.pop(order[i] % len(open_)))
        assert budget.spent + budget.reserved <= limit * (1 + 1e-6) + 1e-9
    for one in open_:
        budget.settle(*one)
    assert budget.spent <= limit * (1 + 1e-6) + 1e-9


def test_a_lost_call_counts_at_its_most():
    meter = Meter(Prices(input=1e6, output=1e6, call=0.5))
    bound = Usage(10, 20, calls=1)
    # One answered (2 + 3 tokens), one lost (at most 10 + 20); two calls at 0.5.
    assert meter.count(Usage(2, 3, 1.0, calls=2, attempts=2, lost=1), bound) == 5 + 30 + 1.0
    assert meter.usage.lost == 1
    assert meter.bound(bound) == 30.5


def test_time_is_bounded_by_the_slowest_call_so_far():
    meter = Meter(SECONDS, budget=10)
    assert meter.bound(Usage(100, 100, calls=1)) == 0
    meter.count(Usage(1, 1, 2.5, calls=1), Usage())
    meter.count(Usage(1, 1, 0.5, calls=1), Usage())
    assert meter.bound(Usage(100, 100, calls=1)) == 2.5
