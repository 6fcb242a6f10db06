"""A memory-mapped suffix array over tokenised texts: which tokens may follow, how often, and in which texts.

What begins with the same n-gram stands side by side in a suffix array, so an n-gram is a span of it, and one more token
makes the span narrower: two binary searches. The tokens that follow a span stand in it in order, so they are found by
halving it wherever its two ends differ, and never by walking through it. The first two levels, whose spans are the
widest, are kept as tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distillir.errors import SearchIndexError, VectorsError
from distillir.index.suffix_build import BORDER, FILE, FORMAT, build_suffix, digest
from distillir.index.suffix_spans import Following, Spans
from distillir.vectors.files import map_array, read_json

ARRAYS = ("stream", "suffixes", "borders", "vocabulary", "firsts", "pair_starts", "pair_tokens", "pair_offsets")
_AGAIN = "build the index again"


class SuffixIndex:
    """Exact n-gram search; make one with `SuffixIndex.build`, open it with `SuffixIndex.open`.

    Attributes:
        texts: how many there are. tokens: of all texts together. tokenizer: fingerprint of what made the ids.
    """

    def __init__(self, folder: Path, arrays: dict[str, NDArray[Any]], tokens: int, tokenizer: str) -> None:
        self.folder = folder
        self.tokens = tokens
        self.tokenizer = tokenizer
        self.texts = len(arrays["borders"]) - 1
        self.nbytes = sum(array.nbytes for array in arrays.values())
        # A view without the class of memory maps, which makes each look-up several times slower.
        plain = {name: np.asarray(array) for name, array in arrays.items()}
        self._stream, self._suffixes, self._borders, self._vocabulary = (plain[name] for name in ARRAYS[:4])
        self._firsts, self._pair_starts, self._pair_tokens, self._pair_offsets = (plain[name] for name in ARRAYS[4:])
        unknown = len(self._vocabulary) + 1  # behind every token, so its span is empty
        self._dense = np.full(int(self._vocabulary[-1]) + 2, unknown, np.int64)
        self._dense[self._vocabulary] = np.arange(1, unknown)

    @classmethod
    def build(cls, texts: Iterable[Sequence[int]], folder: str | Path, *, tokenizer: str = "") -> SuffixIndex:
        """Build and open; see `build_suffix`."""
        return cls.open(build_suffix(texts, folder, tokenizer=tokenizer), tokenizer=tokenizer)

    @classmethod
    def open(cls, folder: str | Path, *, tokenizer: str = "", verify: bool = False) -> SuffixIndex:
        """Memory-map what `build` wrote.

        Args:
            folder: of the index.
            tokenizer: fingerprint that it must have; "" = any.
            verify: whether to read every byte and compare its hash.

        Raises:
            SearchIndexError: missing, of another format or tokenizer, truncated, or (under `verify`) damaged.
        """
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise SearchIndexError(f"{folder} holds no suffix array", "build it first")
        try:
            about = read_json(folder / FILE)
            if about.get("format") != FORMAT:
                raise SearchIndexError(f"{folder} has format {about.get('format')!r}, read is {FORMAT}", _AGAIN)
            arrays = {
                name: map_array(
                    folder / f"{name}.npy", np.dtype(about["arrays"][name][0]), int(about["arrays"][name][1])
                )
                for name in ARRAYS
            }
            found, tokens = str(about["tokenizer"]), int(about["tokens"])
        except VectorsError as error:
            raise SearchIndexError(error.cause, _AGAIN) from error
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SearchIndexError(f"{folder / FILE}: unreadable ({error!r})", _AGAIN) from error
        if tokenizer and found != tokenizer:
            raise SearchIndexError(
                f"{folder} was built with another tokenizer ({found or 'unnamed'}, not {tokenizer})",
                "open it with the model that it was built for, or build it again",
            )
        if verify:
            for name, array in arrays.items():
                if digest(array) != about["arrays"][name][2]:
                    raise SearchIndexError(f"{folder / name}.npy is damaged", _AGAIN)
        return cls(folder, arrays, tokens, found)

    def start(self, queries: int = 1, *, whole: bool = False) -> Spans:
        """Spans of `queries` empty n-grams.

        Args:
            queries: how many.
            whole: only what stands at the beginning of a text.
        """
        # The last border, behind which nothing begins, sorts before all others.
        borders = int(self._firsts[1])
        low, high = (1, borders) if whole else (borders, len(self._stream))
        return Spans(np.full(queries, low, np.int64), np.full(queries, high, np.int64), int(whole))

    def narrow(self, spans: Spans, tokens: ArrayLike) -> Spans:
        """Spans of the n-grams with one token more, one token a row; empty where that does not occur."""
        wanted = self._known(np.asarray(tokens, np.int64))
        if spans.depth == 0:
            inside = wanted <= len(self._vocabulary)
            place = np.where(inside, wanted, 0)
            low, high = self._firsts[place].astype(np.int64), self._firsts[place + 1].astype(np.int64)
            return Spans(low, np.where(inside & (spans.counts > 0), high, low), 1)
        both = self._search(np.tile(spans.low, 2), np.tile(spans.high, 2), spans.depth, wanted)
        return Spans(both[: len(spans)], both[len(spans) :], spans.depth + 1)

    def find(self, ngram: Sequence[int], *, whole: bool = False) -> Spans:
        """The span of one n-gram."""
        spans = self.start(1, whole=whole)
        for token in ngram:
            spans = self.narrow(spans, [token])
        return spans

    def count(self, ngram: Sequence[int], *, whole: bool = False) -> int:
        """How often an n-gram occurs, or how many texts begin with it."""
        return int(self.find(ngram, whole=whole).counts[0])

    def following(self, spans: Spans) -> Following:
        """Every token that follows each n-gram, with its count."""
        if spans.depth == 0:
            tokens = np.arange(1, len(self._vocabulary) + 1)
            live = spans.counts > 0
            row = np.repeat(np.flatnonzero(live), len(tokens))
            low, high = (
                np.tile(side.astype(np.int64), int(live.sum())) for side in (self._firsts[1:-1], self._firsts[2:])
            )
            dense = np.tile(tokens, int(live.sum()))
        elif spans.depth == 1:
            row, dense, low, high = self._pairs_of(spans)
        else:
            row, dense, low, high = self._runs(spans)
        ending = dense == BORDER
        ends = np.bincount(row[ending], (high - low)[ending], len(spans)).astype(np.int64)
        row, dense, low, high = (array[~ending] for array in (row, dense, low, high))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(spans)))])
        found = self._vocabulary[dense - 1].astype(np.int64)
        return Following(offsets, found, Spans(low, high, spans.depth + 1), ends)

    def ends(self, spans: Spans) -> NDArray[np.int64]:
        """(Q,) how often a text ends behind each n-gram."""
        if spans.depth == 0:
            return np.zeros(len(spans), np.int64)
        both = self._search(
            np.tile(spans.low, 2), np.tile(spans.high, 2), spans.depth, np.full(len(spans), BORDER, np.int64)
        )
        return both[len(spans) :] - both[: len(spans)]

    def texts_with(self, spans: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Texts that hold each n-gram: (Q + 1,) offsets, and (M,) numbers of texts, ascending and each once a row."""
        row = np.repeat(np.arange(len(spans)), spans.counts)
        first = np.cumsum(spans.counts) - spans.counts
        place = np.arange(len(row)) - np.repeat(first - spans.low, spans.counts)
        text = np.searchsorted(self._borders, self._suffixes[place], side="right") - 1
        every = np.unique(row * np.int64(self.texts) + text)
        offsets = np.searchsorted(every, np.arange(len(spans) + 1) * np.int64(self.texts))
        return offsets, every % self.texts

    def text(self, i: int) -> NDArray[np.int64]:
        """Token ids of a text."""
        inside = self._stream[int(self._borders[i]) + 1 : int(self._borders[i + 1])]
        return self._vocabulary[inside.astype(np.int64) - 1].astype(np.int64)

    def _known(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stream's tokens of token ids; what no text holds becomes one that is behind all."""
        inside = (tokens >= 0) & (tokens < len(self._dense))
        return self._dense[np.where(inside, tokens, len(self._dense) - 1)]

    def _at(self, place: NDArray[np.int64], depth: int) -> NDArray[Any]:
        """The token that stands `depth` behind the beginning of each suffix."""
        # Behind the last border comes nothing, which sorts like a border.
        return self._stream[np.minimum(self._suffixes[place].astype(np.int64) + depth, len(self._stream) - 1)]

    def _search(
        self, low: NDArray[np.int64], high: NDArray[np.int64], depth: int, wanted: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """(2Q,) where each wanted token begins, and where it ends; all binary searches take their steps together."""
        low, high = low.copy(), high.copy()
        token = np.tile(wanted, 2)
        behind = np.arange(len(token)) >= len(wanted)
        open_ = np.flatnonzero(low < high)
        while len(open_):
            middle = (low[open_] + high[open_]) >> 1
            found = self._at(middle, depth)
            right = np.where(behind[open_], found <= token[open_], found < token[open_])
            low[open_[right]] = middle[right] + 1
            high[open_[~right]] = middle[~right]
            open_ = open_[low[open_] < high[open_]]
        return low

    def _pairs_of(self, spans: Spans) -> tuple[NDArray[np.int64], ...]:
        live = np.flatnonzero(spans.counts > 0)
        first = self._stream[self._suffixes[spans.low[live]]].astype(np.int64)
        start, stop = (self._pair_offsets[place].astype(np.int64) for place in (first, first + 1))
        number = stop - start
        row = np.repeat(live, number)
        entry = np.arange(len(row)) - np.repeat(np.cumsum(number) - number - start, number)
        low = np.maximum(self._pair_starts[entry].astype(np.int64), spans.low[row])
        last = entry + 1 == len(self._pair_starts)
        high = np.where(last, len(self._stream), self._pair_starts[np.where(last, 0, entry + 1)])
        return row, self._pair_tokens[entry].astype(np.int64), low, high.astype(np.int64)

    def _runs(self, spans: Spans) -> tuple[NDArray[np.int64], ...]:
        """(row, token, low, high) of each run of equal next tokens, in order."""
        row = np.flatnonzero(spans.counts > 0)
        left, right = spans.low[row], spans.high[row] - 1
        at_left, at_right = self._at(left, spans.depth), self._at(right, spans.depth)
        rows, starts, tokens = [row], [left], [at_left]
        while True:
            # Both ends equal: one token all through, because they stand in order.
            apart = at_left != at_right
            row, left, right, at_left, at_right = (a[apart] for a in (row, left, right, at_left, at_right))
            close = right - left == 1
            rows.append(row[close])
            starts.append(right[close])
            tokens.append(at_right[close])
            if close.all():
                break
            row, left, right, at_left, at_right = (a[~close] for a in (row, left, right, at_left, at_right))
            middle = (left + right) >> 1
            at_middle = self._at(middle, spans.depth)
            row = np.concatenate([row, row])
            left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
            at_left, at_right = np.concatenate([at_left, at_middle]), np.concatenate([at_middle, at_right])
        row, low, token = (np.concatenate(parts) for parts in (rows, starts, tokens))
        order = np.lexsort((low, row))
        row, low, token = row[order], low[order], token[order].astype(np.int64)
        high = np.empty_like(low)
        high[:-1] = low[1:]
        last = np.ones(len(row), bool)
        last[:-1] = row[1:] != row[:-1]
        high[last] = spans.high[row[last]]
        return row, token, low, high
