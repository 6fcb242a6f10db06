"""How the numbers of an evaluation are written."""

from __future__ import annotations

from distillir.evaluation.efficiency import Latency

_DECIMALS = {"active": 1, "flops": 2}
ABSENT = "n/a"


def number(key: str, value: float | None, *, sign: bool = False) -> str:
    """A value of the column `key`: three decimals for measures, fewer for active dimensions and flops."""
    if value is None:
        return ABSENT
    return f"{value:{'+' if sign else ''}.{_DECIMALS.get(key, 3)}f}"


def span(key: str, low: float | None, high: float | None, *, sign: bool = False, between: str = "–") -> str:
    """An interval of the column `key`."""
    if low is None or high is None:
        return ABSENT
    return f"{number(key, low, sign=sign)}{between}{number(key, high, sign=sign)}"


def p_value(p: float | None) -> str:
    """`0.032`, or `<0.001` below that."""
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float) -> str:
    """`95 %`, `99.9 %`."""
    return f"{100 * share:.4g} %"


def milliseconds(latency: Latency | None) -> str:
    """The median."""
    return ABSENT if latency is None else f"{latency.median_ms:.3g} ms"
