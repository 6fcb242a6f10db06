"""How a reply was repaired, in one line that can be counted again: "missing:2; repeated:1; cut off"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

BETWEEN = "; "
COUNTED = re.compile(r"(.+):(\d{1,9})")


def join_reasons(words: Iterable[str] = (), counts: Mapping[str, int] | None = None) -> str:
    """One line of plain words and of counts above 0."""
    counted = [f"{name}:{number}" for name, number in (counts or {}).items() if number]
    return BETWEEN.join([*words, *counted])


def count_reasons(reason: str) -> Counter[str]:
    """Word -> how often, 1 where no number stands."""
    found: Counter[str] = Counter()
    for part in filter(None, (part.strip() for part in reason.split(";"))):
        counted = COUNTED.fullmatch(part)
        found[counted[1] if counted else part] += int(counted[2]) if counted else 1
    return found
