"""Shadow mode: on a share of the traffic, what the student found beside what the rewriter's question finds.

It runs after the reply was sent. A row of the log has figures, versions and ids of documents; texts of users only where
that was asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau

from distillir.errors import ConfigError, DataError

FILE = "shadow.jsonl"
DEPTH = 10  # hits that are compared
LARGEST = 64 << 20  # bytes after which the log is begun anew, the old one kept beside it


@dataclass(frozen=True)
class ShadowSettings:
    """What is compared, and what is kept.

    Attributes:
        share: of the traffic, 0 … 1; requests that bring a rewrite of their own are always compared.
        keep_texts: whether conversation and rewrite are written down.
        running: comparisons at once; further ones are left out and counted.
    """

    share: float = 0.0
    keep_texts: bool = False
    running: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"a shadow share of {self.share}", "give a number from 0 to 1")

    def picks(self, request: str) -> bool:
        """Whether a request is among the share; a function of its name."""
        place = int.from_bytes(hashlib.blake2b(request.encode(), digest_size=8).digest(), "big")
        return place < self.share * 2**64


@dataclass(frozen=True)
class ShadowRow:
    """One comparison.

    Attributes:
        request: as the reply named it. time: seconds since 1970. depth: turn of the conversation, 1 on a first one.
        overlap: share of the rewrite's best documents among the student's, at `DEPTH`.
        tau: rank correlation of both lists, see `rank_correlation`.
        student_ms, rewrite_ms: to the hits, and to the rewrite alone.
        cost: of the rewrite, in `currency`.
        student, rewrite: ids of the best documents.
        texts: conversation and rewrite, where they are kept.
        failure: why there was no rewrite; then the figures say nothing.
    """

    request: str
    time: float
    depth: int
    model: str
    index: str
    rewriter: str
    overlap: float
    tau: float
    student_ms: float
    rewrite_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float
    currency: str
    confidence: float | None
    student: tuple[str, ...]
    rewrite: tuple[str, ...]
    texts: dict[str, Any] | None = None
    failure: str = ""


class ShadowLog:
    """Appends rows to a file that only its owner can read."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / FILE

    def write(self, row: ShadowRow) -> None:
        """One line."""
        line = json.dumps(asdict(row), allow_nan=False).encode() + b"\n"
        if self.path.exists() and self.path.stat().st_size + len(line) > LARGEST:
            self.path.replace(self.path.with_suffix(".1.jsonl"))
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


def read_shadow(path: str | Path) -> list[ShadowRow]:
    """Rows of a log, given itself or its folder; a last line that was cut short is left out.

    Raises:
        DataError: no log, or another file.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    rows: list[ShadowRow] = []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise DataError(path, str(error.strerror), cure="name the state folder of a service with --shadow") from error
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            kept = json.loads(line)
            rows.append(ShadowRow(**(kept | {name: tuple(kept[name]) for name in ("student", "rewrite")})))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(path, f"no row of a shadow log ({error})", line=number, cure="check the path") from error
    return rows


def overlap(one: Sequence[str], other: Sequence[str], k: int = DEPTH) -> float:
    """|A ∩ B| / max(|A|, |B|) of the first k; 1 where both are empty."""
    a, b = set(one[:k]), set(other[:k])
    return len(a & b) / max(len(a), len(b)) if a or b else 1.0


def rank_correlation(one: Sequence[str], other: Sequence[str], k: int = DEPTH) -> float:
    """Kendall's τ-b over the union of two lists of k, a document that a list lacks at its end; 1 for equal lists.

    Lists over which it is not defined, of one document or none, count as 1 where they are equal and as −1 where not.
    """
    a, b = list(one[:k]), list(other[:k])
    union = sorted({*a, *b})
    places = [[own.index(name) if name in own else k for name in union] for own in (a, b)]
    found = float(kendalltau(*places).statistic) if len(union) > 1 else math.nan
    if math.isnan(found):
        return 1.0 if a == b else -1.0
    return found


def now() -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time.time(), 3)
