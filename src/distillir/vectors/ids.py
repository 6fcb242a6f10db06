"""String ids of stored rows, and the way back from an id to its row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from distillir.errors import VectorsError


def pack_ids(ids: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint64]]:
    """UTF-8 bytes (B,), offsets (R + 1,) into them, and a 64-bit hash (R,) of each id.

    Raises:
        VectorsError: an id that is empty, not a string, or not valid Unicode.
    """
    encoded = [_encode(name) for name in ids]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(data) for data in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets, _hash(encoded)


def _encode(name: object) -> bytes:
    if not isinstance(name, str) or not name:
        raise VectorsError(f"{name!r} is not an id", "ids are non-empty strings")
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise VectorsError(f"the id {name!r} is not valid Unicode", "repair the ids of the collection") from error


def _hash(encoded: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(blake2b(data, digest_size=8).digest() for data in encoded), "<u8")


class IdTable(Sequence[str]):
    """Ids of consecutive shards: position to id by offset, id to position by hash.

    The bytes may be memory-mapped. The first look-up sorts the hashes (16 bytes an id); ids are decoded on demand.
    """

    def __init__(self) -> None:
        self._starts = [0]
        self._shards: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._unsorted: list[tuple[NDArray[Any], int]] = []
        # Sorted runs whose sizes fall geometrically, so that adding shard after shard stays O(n log n).
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []

    def add(self, blob: NDArray[Any], offsets: NDArray[Any], hashes: NDArray[Any]) -> None:
        """One more shard, in the form of `pack_ids`."""
        self._unsorted.append((hashes, self._starts[-1]))
        self._shards.append((blob, offsets))
        self._starts.append(self._starts[-1] + len(hashes))

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        place = position + len(self) if position < 0 else position
        if not 0 <= place < len(self):
            raise IndexError(position)
        return self._bytes(place).decode()

    def __iter__(self) -> Iterator[str]:
        for blob, offsets in self._shards:
            data, cuts = blob.tobytes(), offsets.tolist()
            for start, end in pairwise(cuts):
                yield data[start:end].decode()

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(R,) position of each id, -1 where it is unknown."""
        for hashes, start in self._unsorted:
            self._merge(np.asarray(hashes, np.uint64), np.arange(start, start + len(hashes)))
        self._unsorted.clear()
        encoded = [_encode(name) for name in ids]
        wanted = _hash(encoded)
        found = np.full(len(encoded), -1, np.int64)
        for hashes, positions in self._runs:
            lows, highs = (np.searchsorted(hashes, wanted, side=side) for side in ("left", "right"))
            for i in np.flatnonzero(lows < highs).tolist():
                for place in positions[lows[i] : highs[i]].tolist():
                    if self._bytes(place) == encoded[i]:  # two ids may share a hash
                        found[i] = place
        return found

    def _bytes(self, place: int) -> bytes:
        shard = bisect_right(self._starts, place) - 1
        blob, offsets = self._shards[shard]
        row = place - self._starts[shard]
        return blob[int(offsets[row]) : int(offsets[row + 1])].tobytes()

    def _merge(self, hashes: NDArray[np.uint64], positions: NDArray[np.int64]) -> None:
        while self._runs and len(self._runs[-1][0]) <= 2 * len(hashes):
            larger, places = self._runs.pop()
            hashes, positions = np.concatenate([larger, hashes]), np.concatenate([places, positions])
        order = np.argsort(hashes, kind="stable")
        self._runs.append((hashes[order], positions[order]))
