"""What calls cost, and a budget that cannot be passed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distillir.errors import ConfigError
from distillir.labels.estimate import Price
from distillir.teachers.requests import Usage


@dataclass(frozen=True)
class Prices(Price):
    """A provider's prices, and that of time on one's own machine.

    Attributes:
        per_second: of a second of work.
    """

    per_second: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.per_second) and self.per_second >= 0):
            raise ConfigError(f"{self.per_second} a second", "give a finite price of 0 or more")

    def cost(self, usage: Usage) -> float:
        """Price of what was used."""
        return self.of(usage.calls, usage.prompt_tokens, usage.completion_tokens) + usage.seconds * self.per_second


SECONDS = Prices(per_second=1.0, currency="s")
"""A local model: its price is the time it takes."""


class Budget:
    """Money set aside before a call and settled after it: spent and reserved together never pass the limit.

    Args:
        limit: in the currency of the prices; None: no limit.
    """

    def __init__(self, limit: float | None = None) -> None:
        if limit is not None and not (math.isfinite(limit) and limit >= 0):
            raise ConfigError(f"a budget of {limit}", "give a finite amount of 0 or more")
        self.limit = math.inf if limit is None else limit
        self.spent = 0.0
        self.reserved = 0.0

    def reserve(self, amount: float) -> bool:
        """Set an amount aside; False, and nothing is set aside, where the limit could be passed."""
        # Sums of prices differ in their last digits by the order of adding.
        if self.spent + self.reserved + amount > self.limit * (1 + 1e-9):
            return False
        self.reserved += amount
        return True

    def settle(self, reserved: float, actual: float) -> None:
        """Replace what was set aside by what was spent."""
        self.reserved = max(0.0, self.reserved - reserved)
        self.spent += actual


class Meter:
    """Running totals of a run: usage, money, and what the next call can cost at most.

    A price by the second cannot be bounded before the call: the slowest call so far stands in, so that the calls in
    flight when the budget ends may pass it by the time they take.
    """

    def __init__(self, prices: Prices, budget: Budget | float | None = None) -> None:
        self.prices = prices
        self.budget = budget if isinstance(budget, Budget) else Budget(budget)
        self.usage = Usage()
        self._slowest = 0.0

    def bound(self, usage: Usage) -> float:
        """The most a call costs that uses at most this much."""
        return self.prices.cost(usage) + self._slowest * self.prices.per_second

    def count(self, usage: Usage, bound: Usage) -> float:
        """Add what was used; returns its price. Calls that were lost count at their bound."""
        self.usage += usage
        self._slowest = max(self._slowest, usage.seconds)
        return self.prices.cost(usage) + usage.lost * self.prices.of(0, bound.prompt_tokens, bound.completion_tokens)
