"""The number in a reply to "how relevant is it?"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from distillir.labels.kinds import Status
from distillir.labels.parsing.reasons import join_reasons
from distillir.labels.parsing.wrapping import unwrap

NUMBER = r"[-+]?(?:\d+(?:\.\d+|,\d{1,2}(?!\d))?|\.\d+)(?:e[-+]?\d{1,3})?"  # "0,8" but not "1,000"
ALONE = re.compile(rf"({NUMBER})(?:\s*/\s*({NUMBER}))?", re.IGNORECASE)
FOUND = re.compile(rf"(?<![\w.])({NUMBER})(?:\s*(?:/|out of)\s*({NUMBER}))?(?!\w)", re.IGNORECASE)
NAMED = re.compile(
    rf"(?:score|rating|relevance|grade)\W{{1,6}}(?:is\s+)?({NUMBER})(?:\s*(?:/|out of)\s*({NUMBER}))?", re.I
)


@dataclass(frozen=True)
class ParsedScore:
    """`value` is None exactly when `status` is "malformed"; `reason` says how it was repaired or why it is no use."""

    value: float | None
    status: Status
    reason: str = ""


def parse_score(
    reply: str, *, low: float = 0.0, high: float = 1.0, words: Mapping[str, float] | None = None
) -> ParsedScore:
    """The one score a reply gives, or nothing: no guess is made.

    A reply that is a number, or opens with one of `words`, is taken as it stands. Else the number behind "score:" or
    the like counts, else the only number there is. "7/10" is read when 10 is `high`. Several numbers, none, one outside
    [low, high] or on another scale are malformed.

    Args:
        reply: any text.
        low: least score asked for.
        high: largest score asked for.
        words: lower-case word -> score, such as {"yes": 1.0, "no": 0.0}.
    """
    text, taken = unwrap(reply)
    first = re.match(r"\W*(\w+)", text)
    if words and first and first[1].lower() in words:
        whole = re.fullmatch(r"\w+[.!]?", text) is not None
        how = taken if whole else [*taken, "more than a word"]
        return ParsedScore(float(words[first[1].lower()]), "repaired" if how else "ok", join_reasons(how))
    alone = ALONE.fullmatch(text)
    if alone:
        found = [alone]
    else:
        taken.append("number in a text")
        found = list(NAMED.finditer(text)) or list(FOUND.finditer(text))
    values = {match.groups() for match in found}
    if len(values) != 1:
        return ParsedScore(None, "malformed", "several numbers" if values else "no number" if text else "empty")
    number, out_of = values.pop()
    if out_of is not None and _read(out_of) != high:
        return ParsedScore(None, "malformed", "another scale")
    value = _read(number)
    if not (isfinite(value) and low <= value <= high):
        return ParsedScore(None, "malformed", "out of range")
    return ParsedScore(value, "repaired" if taken else "ok", join_reasons(taken))


def _read(number: str) -> float:
    return float(number.replace(",", "."))
