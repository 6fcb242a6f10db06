"""Published data sets as our own files, so that a recipe can name them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from distillir.data.canard import load_canard
from distillir.data.chitchat import load_chitchat
from distillir.data.conversations import Context, write_contexts
from distillir.data.documents import Document
from distillir.data.dstc11 import load_dstc11
from distillir.data.files import replacing_lines
from distillir.data.mtrag import DOMAINS, SPLITS, load_mtrag
from distillir.data.qrecc import load_qrecc
from distillir.errors import ConfigError

Parts = tuple[Iterable[Document] | None, Mapping[str, list[Context]]]


def write_published(name: str, source: Path, out: Path, domain: str = "") -> dict[str, int]:
    """Write `corpus.jsonl` and a conversations file a split into `out`.

    Args:
        name: mtrag, dstc11, chitchat, whose corpus are responses, canard or qrecc; the last two have no corpus and
            only train contexts.
        source: folder or file of the official release, as the data set's loader describes it.
        domain: of mtrag: the collection that is searched.

    Returns:
        file name → rows.

    Raises:
        ConfigError: an unknown data set, or mtrag without a domain.
        DataError: files that are missing or malformed.
    """
    if name not in PUBLISHED:
        raise ConfigError(f"no data set {name!r}", f"use one of {', '.join(sorted(PUBLISHED))}")
    if (name == "mtrag") != bool(domain):
        cure = f"give --domain, one of {', '.join(DOMAINS)}" if name == "mtrag" else "leave --domain out"
        raise ConfigError(f"{name} {'has several collections' if name == 'mtrag' else 'has no domains'}", cure)
    with TemporaryDirectory() as scratch:
        corpus, splits = PUBLISHED[name](source, domain, Path(scratch))
        out.mkdir(parents=True, exist_ok=True)
        written = {}
        if corpus is not None:
            written["corpus.jsonl"] = write_documents(out / "corpus.jsonl", corpus)
        for split, contexts in splits.items():
            if contexts:
                write_contexts(out / f"{split}.jsonl", contexts)
                written[f"{split}.jsonl"] = len(contexts)
    return written


def write_documents(path: str | Path, documents: Iterable[Document]) -> int:
    """Write documents as JSON lines that `read_documents` reads back, all or nothing; how many."""
    count = 0
    with replacing_lines(path) as lines:
        for document in documents:
            row = {"_id": document.id, "title": document.title, "text": document.text}
            row |= {"group": document.group} if document.group else {}
            lines.write(json.dumps(row | dict(document.metadata), ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def _mtrag(source: Path, domain: str, scratch: Path) -> Parts:
    data = load_mtrag(source)
    return data.corpus(domain, scratch), {s: data.contexts(s, [domain]) for s in ("train", "dev", "test")}


def _dstc11(source: Path, domain: str, scratch: Path) -> Parts:
    data = load_dstc11(source)
    return data.corpus(scratch), {s: data.contexts(s) for s in ("train", "dev", "test")}


def _canard(source: Path, domain: str, scratch: Path) -> Parts:
    return None, {"train": list(load_canard(source).contexts)}


def _qrecc(source: Path, domain: str, scratch: Path) -> Parts:
    return None, {"train": list(load_qrecc(source).contexts)}


def _chitchat(source: Path, domain: str, scratch: Path) -> Parts:
    data = load_chitchat(source)
    responses = (Document(one.id, one.text, metadata={"origins": list(one.origins)}) for one in data.responses)
    return responses, {s: data.contexts(s) for s in SPLITS}


PUBLISHED: Mapping[str, Callable[[Path, str, Path], Parts]] = {
    "mtrag": _mtrag,
    "dstc11": _dstc11,
    "canard": _canard,
    "chitchat": _chitchat,
    "qrecc": _qrecc,
}
