"""What a published data set is: the files of its release, and the files that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distillir.data.conversations import Context
from distillir.data.documents import Document
from distillir.data.qrels import Qrels
from distillir.data.responses import Response
from distillir.errors import DataError

PACKED = ("", ".gz", ".bz2")
Kind = Literal["documents", "contexts", "responses", "qrels", "answers"]


@dataclass(frozen=True)
class Source:
    """A file, or several, of a release.

    Attributes:
        key: by which the parts ask for it.
        names: where it may lie in the source folder, the first that is there; `*` stands for any name. Each may be
            packed (.gz, .bz2).
        what: what is in it.
        needed: whether nothing can be prepared without it.
        corpus: whether the corpus alone is made of it, so that it is not needed where no corpus is asked for.
    """

    key: str
    names: tuple[str, ...]
    what: str
    needed: bool = True
    corpus: bool = False

    def find(self, folder: Path) -> tuple[Path, ...]:
        """The files, in order of their names; none where there are none."""
        for name in self.names:
            for packed in PACKED:
                found = sorted(path for path in folder.glob(name + packed) if path.is_file())
                if seen := tuple(path for path in found if not path.name.startswith(".")):
                    return seen
        return ()


Found = Mapping[str, tuple[Path, ...]]
"""Key of a source → its files."""


@dataclass(frozen=True)
class Part:
    """A file to write.

    Attributes:
        name: in the folder of the prepared data.
        kind: of its rows.
        sources: files it is made of; while they stay, it stays.
        rows: makes the rows; called once.
        judged: ids that judgements name, of contexts; those that are not among the rows are counted.
    """

    name: str
    kind: Kind
    sources: tuple[Path, ...]
    rows: Callable[[], Any]
    judged: Callable[[], Collection[str]] | None = None


@dataclass(frozen=True)
class Count:
    """How much a release holds, over some parts together.

    Attributes:
        parts: names of the parts.
        rows: documents, contexts or responses.
        groups: conversations, of contexts.
    """

    parts: tuple[str, ...]
    rows: int | None = None
    groups: int | None = None


@dataclass(frozen=True)
class DataSet:
    """A published data set in the format of its owners' release.

    Attributes:
        name: by which it is asked for.
        what: one line.
        methods: methods whose papers use it.
        licence: as its owners state it.
        offered: where its owners offer it.
        sources: files of the release.
        parts: what to write, from the files that were found and the source folder.
        counts: what is known of its size.
        unverified: what of the layout could not be checked against the release itself; "" = nothing.
    """

    name: str
    what: str
    methods: tuple[str, ...]
    licence: str
    offered: str
    sources: tuple[Source, ...]
    parts: Callable[[Found, Path], list[Part]]
    counts: tuple[Count, ...] = field(default=())
    unverified: str = ""

    def find(self, folder: Path, *, corpus: bool = True) -> Found:
        """The files of the release in a folder.

        Args:
            folder: of the release.
            corpus: whether the corpus is asked for; without, files that it alone is made of may be missing.

        Raises:
            DataError: what is missing, and where its owners offer it.
        """
        if not folder.is_dir():
            raise DataError(folder, "no such folder", cure=f"fetch {self.name} from {self.offered}")
        found = {source.key: source.find(folder) for source in self.sources}
        if missing := self.missing(folder, corpus=corpus):
            raise DataError(
                folder,
                f"{self.name} lacks {'; '.join(f'{one.names[0]} ({one.what})' for one in missing)}",
                cure=f"its owners offer it at {self.offered}",
            )
        return found

    def missing(self, folder: Path, *, corpus: bool = True) -> list[Source]:
        """Needed files that are not in a folder; those of the corpus only where it is asked for."""
        asked = [source for source in self.sources if source.needed and (corpus or not source.corpus)]
        return [source for source in asked if not source.find(folder)]


def documents(name: str, sources: tuple[Path, ...], rows: Callable[[], Iterable[Document]]) -> Part:
    """A corpus."""
    return Part(name, "documents", sources, rows)


def contexts(
    name: str,
    sources: tuple[Path, ...],
    rows: Callable[[], Iterable[Context]],
    judged: Callable[[], Collection[str]] | None = None,
) -> Part:
    """Contexts of a split, and the ids that its judgements name where each is to be among them."""
    return Part(name, "contexts", sources, rows, judged)


def responses(name: str, sources: tuple[Path, ...], rows: Callable[[], Iterable[Response]]) -> Part:
    """A fixed set of responses."""
    return Part(name, "responses", sources, rows)


def judgements(name: str, sources: tuple[Path, ...], rows: Callable[[], Qrels]) -> Part:
    """Relevance judgements, tab-separated: ids of some releases have blanks in them."""
    return Part(name, "qrels", sources, rows)


def answers(name: str, sources: tuple[Path, ...], rows: Callable[[], Iterable[tuple[str, list[str]]]]) -> Part:
    """(id of a context, texts of which one is in a passage that answers it)."""
    return Part(name, "answers", sources, rows)


def held_out(conversation: int, every: int = 50) -> bool:
    """Whether a conversation of a release without development data is kept for choosing a state by: one of fifty."""
    return conversation % every == 0
