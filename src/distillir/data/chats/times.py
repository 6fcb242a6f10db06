"""Time stamps and lengths of time, as logs and people write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from distillir.errors import ConfigError

UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
# Seconds stay below 1e11 until the year 5138; the same moment in ms, µs, ns is 1e3, 1e6, 1e9 times as much.
EPOCHS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))


def parse_time(stamp: str | int | float) -> float | None:
    """Seconds since 1970, or None where the stamp cannot be read.

    Read are ISO 8601 (also with a blank for the T, with slashes, and with " UTC" at the end) and the seconds,
    milli-, micro- or nanoseconds since 1970, told apart by their size. A stamp without a zone is UTC.
    Days first or months first ("3/4/2025") are not guessed.
    """
    if not isinstance(stamp, str):
        return _epoch(stamp)
    text = stamp.strip()
    if re.fullmatch(r"[+-]?[0-9]{1,25}(\.[0-9]*)?([eE]\+?[0-9]{1,2})?", text):
        number = float(text)
        if abs(number) >= 1e8:  # fewer digits are a date (20250131) or a count, and no moment since 1973
            return _epoch(number)
    text = re.sub(r"\s*(UTC|GMT)$", "+00:00", text)
    if re.match(r"[0-9]{4}/", text):
        text = text.replace("/", "-")
    try:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _epoch(value: int | float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return next((number / unit for limit, unit in EPOCHS if abs(number) < limit), None)


def parse_gap(text: str) -> float | None:
    """Seconds of "45m", "30 min", "1h", "90s", "2d" or a plain number of minutes; None for "none".

    Raises:
        ConfigError: anything else, or no time at all.
    """
    if text.strip().lower() == "none":
        return None
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]*)", text.strip().lower())
    seconds = float(match[1]) * UNITS.get(match[2] or "m", 0) if match else 0.0
    if seconds <= 0:
        raise ConfigError(f"the gap {text!r} is no length of time", "give for example 45m, 1h, or none")
    return seconds
