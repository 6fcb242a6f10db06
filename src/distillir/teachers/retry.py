"""How long to wait before another attempt."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from distillir.errors import ConfigError


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with jitter: after k failures a time drawn from ½…1 times `first · 2^(k-1)`, at most `most`.

    Attributes:
        attempts: of one call, the first included.
        first: seconds.
        most: seconds; a server that asks for a longer wait than `patience` is not waited for.
        patience: seconds.
    """

    attempts: int = 6
    first: float = 1.0
    most: float = 60.0
    patience: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 <= self.first <= self.most or self.patience < 0:
            raise ConfigError(f"{self}", "give 1 or more attempts, and 0 <= first <= most, in seconds")

    def wait(self, failed: int, asked: float | None = None) -> float | None:
        """Seconds before the next attempt after `failed` of them; None: give up.

        Args:
            failed: attempts so far.
            asked: what the server asked for: never less than that is waited.
        """
        if failed >= self.attempts:
            return None
        drawn = min(self.most, self.first * 2.0 ** min(failed - 1, 60)) * random.uniform(0.5, 1.0)
        if asked is None:
            return drawn
        # The jitter comes on top, so that callers who were all sent away do not come back in one moment.
        return None if asked > self.patience else asked + min(drawn, self.first) * random.random()


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds a server asks to wait, by `Retry-After` in seconds or as a date (RFC 9110, 10.2.3); None if it does not.

    Args:
        headers: with names that are found in any capitals, or in small letters.
        now: seconds since the epoch.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)
