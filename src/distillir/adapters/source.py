"""What an adapter searches with, and what a hit says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from distillir.search import Hit


class Source(Protocol):
    """A `distillir.Retriever`, or a `RemoteRetriever`."""

    def retrieve(
        self, messages: Sequence[Mapping[str, object]], k: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[Hit]: ...


def metadata_of(hit: Hit) -> dict[str, Any]:
    """Metadata of a document as other frameworks keep it: its own, and id, title, score."""
    return {**hit.metadata, "id": hit.id, "title": hit.title, "score": hit.score}
