"""A corpus cut into shares that are encoded anywhere, in any order, and put together exactly once.

A share is `shard_rows` documents. Whoever encodes one writes it whole under its number into a folder that all workers
see, by a rename: a share that was encoded twice, because a worker was thought dead, is the same and counts once. One
process then appends the shares in their order, so rows, shards and bytes are those of an encoding in one place.

    shares/3f2a…/000007.safetensors     what `encode` made of documents 7·shard_rows …
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from distillir.data import Corpus
from distillir.encoding.filling import Writer
from distillir.errors import VectorsError
from distillir.vectors.csr import CSR
from distillir.vectors.files import disk_errors, sync_folder

Watch = Callable[[int, int], None]


class Encoder(Protocol):
    """What of an encoder is used here."""

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> Any:
        """Rows of texts, in order."""


class Shares(Protocol):
    """Where shares are made: in this process, or elsewhere."""

    def __call__(self, numbers: Iterable[int], work: ShareWork) -> Iterator[int]:
        """Have every share made; their numbers, each when it lies in the folder."""


@dataclass(frozen=True)
class ShareWork:
    """All that a worker needs to make shares.

    Attributes:
        corpus: the Arrow file, on a path that all workers see.
        folder: of the shares, likewise.
        shard_rows: documents a share.
        encoder: sent to each worker once.
        batch_size: texts encoded together.
    """

    corpus: Path
    folder: Path
    shard_rows: int
    encoder: Encoder
    batch_size: int

    def path(self, number: int) -> Path:
        """Where a share lies."""
        return self.folder / f"{number:08d}.safetensors"

    def rows(self, number: int, total: int) -> range:
        """Documents of a share."""
        return range(number * self.shard_rows, min((number + 1) * self.shard_rows, total))


def make_share(work: ShareWork, number: int, corpus: Corpus) -> None:
    """Encode a share and put it into the folder, whole or not at all.

    Raises:
        VectorsError: the disk refuses.
    """
    if work.path(number).is_file():
        return
    texts = [corpus.text(i) for i in work.rows(number, len(corpus))]
    rows = work.encoder.encode_documents(texts, work.batch_size)
    arrays = rows._asdict() if isinstance(rows, CSR) else {"vectors": np.ascontiguousarray(rows)}
    # Two workers may be at one share: each writes beside under a name of its own, and the last rename wins.
    beside = work.folder / f".{number:08d}.{os.uname().nodename}.{os.getpid()}"
    with disk_errors(work.folder, "shares that are there stay; run again to continue"):
        try:
            with beside.open("wb") as file:
                file.write(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(work.path(number))
            sync_folder(work.folder)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def read_share(path: Path) -> CSR | NDArray[np.float32]:
    """What `make_share` wrote.

    Raises:
        VectorsError: missing or damaged.
    """
    try:
        arrays = load_file(path)
        return arrays["vectors"] if "vectors" in arrays else CSR(*(arrays[name] for name in CSR._fields))
    except (OSError, KeyError, SafetensorError) as error:
        raise VectorsError(f"{path} cannot be read: {error}", "remove it and run again") from error


def in_this_process(numbers: Iterable[int], work: ShareWork) -> Iterator[int]:
    """Shares one after the other, here."""
    corpus = Corpus.open(work.corpus)
    for number in numbers:
        make_share(work, number, corpus)
        yield number


def fill_from_shares(
    writer: Writer[Any],
    corpus: Corpus,
    store: Path,
    told: Mapping[str, Any],
    encoder: Encoder,
    batch_size: int,
    shard_rows: int,
    shares: Shares,
    watch: Watch,
) -> None:
    """Append every document from the first that is not committed on, in shares that `shares` has made.

    A share is appended as soon as all before it are, and then removed. A stop loses the shares at work; shares that
    were ready and not yet appended are found again.

    Args:
        writer: of a store whose rows are the corpus's first ones.
        corpus: rows keep its ids and order.
        store: folder of the vectors; shares lie beside it.
        told: what the vectors are made by: shares of other vectors are not read.
        encoder, batch_size: see `ShareWork`.
        shard_rows: documents a share, and a shard.
        shares: makes them.
        watch: called with (documents done, documents in all).

    Raises:
        VectorsError: the store was begun with another `shard_rows`, or a share is damaged.
    """
    total = len(corpus)
    if writer.committed % shard_rows and writer.committed < total:
        raise VectorsError(
            f"{store} was begun in shards of another size than {shard_rows}", "go on with that size, or encode anew"
        )
    first, last = writer.committed // shard_rows, -(-total // shard_rows)
    about = corpus.path.stat()
    facts = json.dumps([dict(told), shard_rows, about.st_size, about.st_mtime_ns], sort_keys=True)
    parent = store.with_name(f"{store.name}.shares")
    folder = parent / hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()
    work = ShareWork(corpus.path.absolute(), folder.absolute(), shard_rows, encoder, batch_size)
    with disk_errors(folder, "nothing was written"):
        folder.mkdir(parents=True, exist_ok=True)
    ready = {number for number in range(first, last) if work.path(number).is_file()}
    if writer.committed:
        watch(writer.committed, total)

    def append() -> None:
        nonlocal first
        while first in ready:
            rows, path = work.rows(first, total), work.path(first)
            writer.append([corpus.doc_id(i) for i in rows], read_share(path))
            writer.flush()
            path.unlink(missing_ok=True)
            first += 1
            watch(rows.stop, total)

    append()
    for number in shares([number for number in range(first, last) if number not in ready], work):
        ready.add(number)
        append()
    if first < last:
        raise VectorsError(f"share {first} of {folder} was never made", "run again; it goes on from there")
    shutil.rmtree(parent, ignore_errors=True)
