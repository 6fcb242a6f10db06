"""Which documents an estimate is measured on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from distillir.data import Document, read_documents
from distillir.data.queries import crop_order
from distillir.data.reading import ReadingReport, read_folder

DOCUMENTS = 1500


def documents_in(source: Path, leave_out: Path) -> Iterator[Document]:
    """Documents of a file, or of a folder without the run folder `leave_out`."""
    if source.is_dir():
        yield from read_folder(source, ReadingReport(), leave_out=leave_out)
    else:
        yield from (document for _, document in read_documents(source))


def cropped_first(documents: Iterable[Document], total: int, count: int, seed: int) -> list[str]:
    """Ids of the first `count` documents that the whole run asks for a sentence: labels are kept under their names.

    Args:
        documents: all of them. total: how many.
        seed: of the crops.
    """
    if not count:
        return []
    place = {position: i for i, position in enumerate(_order(total, seed)[:count])}
    found = {place[position]: document.id for position, document in enumerate(documents) if position in place}
    return [found[i] for i in sorted(found)]


def write_some(
    documents: Iterable[Document],
    total: int,
    path: Path,
    *,
    wanted: Collection[str] = frozenset(),
    cropped: Sequence[str] = (),
    seed: int = 0,
) -> int:
    """Write documents that are wanted, and others spread over the rest; how many were written.

    Args:
        documents: all of them. total: how many.
        path: JSON lines.
        wanted: ids.
        cropped: ids among those wanted, put where the small run looks for sentences first: it crops the same documents
            as the whole one.
        seed: of the crops.
    """
    stride = max(1, total // DOCUMENTS)
    first, rest = dict.fromkeys(cropped, ""), []
    for i, document in enumerate(documents):
        if i % stride == 0 or document.id in wanted:
            row = {**document.metadata, "_id": document.id, "title": document.title, "text": document.text}
            line = json.dumps({**row, "group": document.group}, default=str) + "\n"
            if document.id in first:
                first[document.id] = line
            else:
                rest.append(line)
    lines = [*first.values(), *rest]
    if first:
        asked = _order(len(lines), seed)[: len(first)]
        others = sorted(set(range(len(lines))) - set(asked))
        lines = [line for _, line in sorted(zip([*asked, *others], lines, strict=True))]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _order(documents: int, seed: int) -> list[int]:
    return crop_order(documents, np.random.default_rng(seed))
