"""Words of a text, for overlaps; no model's tokenizer is meant."""

from __future__ import annotations

import re
from collections import Counter

# Scripts written without blanks (Thai to Khmer, kana, Han) count by character: an overlap is seldom all or nothing.
WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_]+")


def words(text: str) -> list[str]:
    """Lower-case words in order; characters of scripts without blanks stand alone."""
    return WORD.findall(text.casefold())


def token_f1(one: str, other: str) -> float:
    """Harmonic mean of the shares of words two texts have in common (with repetition); 1 if both are empty."""
    a, b = Counter(words(one)), Counter(words(other))
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 1.0
