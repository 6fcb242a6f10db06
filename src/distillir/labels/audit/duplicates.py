"""Near-duplicates: one rewrite for different questions of different conversations, such as an example of the prompt."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np

from distillir.labels.audit.cases import Case
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, share
from distillir.labels.words import words

GRAM = 4
BANDS, ROWS = 16, 4  # 64 hashes: pairs of similarity .8 share a band with probability 1 − (1 − .8⁴)¹⁶ > .999
PRIME = (1 << 31) - 1
BUCKET = 100  # of a band that holds more, pairs of neighbours are compared only


def grams(text: str) -> set[int]:
    """Hashes of the character 4-grams of a text's words; of a shorter text, of the whole."""
    plain = " ".join(words(text))
    return {zlib.crc32(plain[i : i + GRAM].encode()) for i in range(max(1, len(plain) - GRAM + 1))}


def near_duplicates(texts: Sequence[str], likeness: float) -> list[tuple[int, int]]:
    """Pairs i < j of texts whose Jaccard similarity of 4-grams is at least `likeness`, found by MinHash bands and
    verified. A pair just above the threshold may be missed, none below is reported."""
    sets = [grams(text) for text in texts]
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, PRIME, BANDS * ROWS), rng.integers(0, PRIME, BANDS * ROWS)
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i, shingles in enumerate(sets):
        values = np.fromiter(shingles, np.int64, len(shingles)) % PRIME
        least = ((values[:, None] * a + b) % PRIME).min(axis=0)  # (shingles, 64) → (64,)
        for band, part in enumerate(least.reshape(BANDS, ROWS)):
            buckets[band, part.tobytes()].append(i)
    pairs: set[tuple[int, int]] = set()
    for members in buckets.values():
        near = combinations(members, 2) if len(members) <= BUCKET else pairwise(members)
        pairs.update(pair for pair in near if pair not in pairs)
    return sorted((i, j) for i, j in pairs if len(sets[i] & sets[j]) >= likeness * len(sets[i] | sets[j]))


def check_duplicates(cases: Sequence[Case], subject: str, limits: Limits) -> Check:
    """Rewrites that (nearly) repeat one of another conversation although the questions differ."""
    pairs = [
        (cases[i], cases[j])
        for i, j in near_duplicates([case.rewrite for case in cases], limits.twin_likeness)
        if cases[i].group != cases[j].group and words(cases[i].question) != words(cases[j].question)
    ]
    twins = {case.id for pair in pairs for case in pair}
    figures = {"twins": share(len(twins), len(cases)), "pairs": len(pairs)}
    warnings = []
    if figures["twins"] > limits.twin_share:
        warnings.append(
            f"{percent(figures['twins'])} of the rewrites nearly repeat one of another conversation, asked otherwise → "
            "the model copies an example of the prompt, or ignores the question: look at them, change the examples"
        )
    examples = tuple(f"{one.rewrite} ~ {other.rewrite}" for one, other in pairs[:3])
    return Check("near-duplicates", subject, len(cases), figures, tuple(warnings), examples, tuple(sorted(twins)))
