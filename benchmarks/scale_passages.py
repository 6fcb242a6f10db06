"""Passages that are encoded here and on Ray: of the public data sets, or of the standard library's documentation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from distillir.data import Document, load_mtrag, read_documents
from distillir.quickstart.corpus import standard_library

DOMAINS = ("clapnq", "cloud", "fiqa", "govt")


def public(root: Path, scratch: Path) -> Iterator[Document]:
    """Of MTRAG's four collections with the synthetic part's, and of DSTC11, each text under an id of its own.

    Args:
        root: folder of the public data sets.
        scratch: where corpora are built.
    """
    mtrag = load_mtrag(root / "mtrag")
    for domain in DOMAINS:
        corpus = mtrag.corpus(domain, scratch, synthetic=True)
        for i in range(len(corpus)):
            yield Document(f"{domain}/{corpus.doc_id(i)}", corpus.text(i))
    for _, document in read_documents(root / "dstc11_track5" / "corpus.jsonl.gz"):
        yield replace(document, id=f"dstc11/{document.id}")


def documented() -> Iterator[Document]:
    """The standard library's documentation, over and over."""
    for i, one in enumerate(itertools.cycle(list(standard_library()))):
        yield Document(f"{i}", one["text"], one["title"])
