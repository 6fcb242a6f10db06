"""Tokenised texts as one stream with its suffix array, built beside and put in place whole.

    stream   | t t t | t t | t t t t |      "|" is token 0, so no n-gram without it crosses a border
    tokens   distinct token ids of the texts as 1, 2, …, in the order of the ids: two bytes a token up to 65,535 of them
    suffixes positions of the stream, sorted by what follows them

Suffix sorting is libdivsufsort's; what it sorts are bytes, two a token, which stays linear in time and memory.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import MissingDependencyError, SearchIndexError
from distillir.vectors.files import publish_folder, save_array, write_json

FORMAT = 1
FILE = "suffix.json"
BORDER = 0
_BATCH = 1 << 16  # texts made into one array at a time


def build_suffix(texts: Iterable[Sequence[int]], folder: str | Path, *, tokenizer: str = "") -> Path:
    """Build the folder that `SuffixIndex` opens; one that stood there is replaced at the end.

    Args:
        texts: token ids of each text, in order; an empty text is held and never found.
        folder: where.
        tokenizer: fingerprint of what made the ids, checked when the folder is opened.

    Raises:
        SearchIndexError: no tokens at all, ids that are no token ids, or a full disk.
        MissingDependencyError: pydivsufsort is not installed.
    """
    final = Path(folder).absolute()
    fresh, old = (final.with_name(final.name + end) for end in (".partial", ".old"))
    tokens, lengths = _gathered(texts)
    vocabulary = np.flatnonzero(np.bincount(tokens)).astype(np.uint32)
    kind = np.uint16 if len(vocabulary) < 1 << 16 else np.uint32
    dense = np.zeros(int(vocabulary[-1]) + 1, kind)
    dense[vocabulary] = np.arange(1, len(vocabulary) + 1)
    stream = np.zeros(len(tokens) + len(lengths) + 1, kind)
    place = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    place += np.arange(len(tokens))
    stream[place] = dense[tokens]
    borders = np.concatenate([[0], np.cumsum(lengths + 1)])
    size = len(tokens)
    del tokens, place
    suffixes = _sorted_suffixes(stream)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        arrays = {
            "stream": stream,
            "suffixes": suffixes,
            "borders": borders.astype(suffixes.dtype),
            "vocabulary": vocabulary,
            **_pairs(stream, suffixes, len(vocabulary)),
        }
        for name, array in arrays.items():
            save_array(fresh / f"{name}.npy", array)
        about = {name: [array.dtype.str, len(array), digest(array)] for name, array in arrays.items()}
        content = {"format": FORMAT, "tokenizer": tokenizer, "tokens": size, "arrays": about}
        write_json(fresh / FILE, content)
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        publish_folder(fresh, final)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not final.exists():
            old.rename(final)
        raise SearchIndexError(
            f"cannot write {final}: {error}", "check space and permissions; an index there before is as it was"
        ) from error
    return final


def digest(array: NDArray[Any]) -> str:
    """Hash of an array's bytes."""
    return hashlib.blake2b(np.ascontiguousarray(array).view(np.uint8).data, digest_size=8).hexdigest()


def _gathered(texts: Iterable[Sequence[int]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All tokens in one array, and the length of each text."""
    parts: list[NDArray[np.uint32]] = []
    lengths: list[int] = []
    held: list[int] = []
    for text in texts:
        lengths.append(len(text))
        held.extend(text)
        if len(held) >= _BATCH:
            parts.append(_array(held))
            held = []
    tokens = np.concatenate([*parts, _array(held)])
    if not len(tokens):
        raise SearchIndexError("there are no tokens to index", "check that the texts are not empty")
    return tokens, np.array(lengths, np.int64)


def _array(held: list[int]) -> NDArray[np.uint32]:
    array = np.array(held, np.int64)
    if len(array) and not 0 <= array.min() <= array.max() < 1 << 31:
        raise SearchIndexError(f"token ids from {array.min()} to {array.max()}", "give what a tokenizer returns")
    return array.astype(np.uint32)


def _sorted_suffixes(stream: NDArray[Any]) -> NDArray[Any]:
    try:
        from pydivsufsort import divsufsort
    except ImportError as error:
        raise MissingDependencyError("pydivsufsort", "generative") from error
    found: NDArray[Any] = divsufsort(stream)
    return found.astype(np.int32 if len(stream) < 1 << 31 else np.int64, copy=False)


def _pairs(stream: NDArray[Any], suffixes: NDArray[Any], vocabulary: int) -> dict[str, NDArray[Any]]:
    """Where each first token begins in the suffix array, and each pair of tokens: the first two levels of a search.

    The suffix array has them in order, so both are borders between equal neighbours.
    """
    firsts = np.concatenate([[0], np.cumsum(np.bincount(stream, minlength=vocabulary + 1))])
    first = stream[suffixes]
    second = stream[np.minimum(suffixes + suffixes.dtype.type(1), len(stream) - 1)]
    new = np.empty(len(stream), bool)
    new[0] = True
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = np.flatnonzero(new)
    return {
        "firsts": firsts.astype(suffixes.dtype),
        "pair_starts": starts.astype(suffixes.dtype),
        "pair_tokens": second[starts],
        "pair_offsets": np.searchsorted(starts, firsts).astype(suffixes.dtype),
    }
