"""The pool that is the whole collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Collection:
    """Marks that every document is a candidate: nothing is drawn, the full-collection objective walks the postings."""

    name: ClassVar[str] = "collection"
