"""Rankings of many contexts, in memory or memory-mapped from a folder.

pool.json        format, retriever names, counts
contexts.json    context ids, in order
offsets.npy      (C + 1,) int64: context c owns rows offsets[c] … offsets[c + 1] − 1 of the others
positions.npy    int32, or int64 for a corpus past 2³¹ documents
scores.npy       float32
found_by.npy     uint8, in merged pools only: bit r is set where retriever r found the document
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SamplingError
from distillir.sampling.merge import MergeRule, check_rule, merge_rankings
from distillir.sampling.pool_files import PoolWriter, read_pool
from distillir.sampling.ranking import Ranking


class RankedPool:
    """Rankings by context id: `pool["topic-3_turn-5"]` is a `Ranking`.

    Use `build`, `open` or `merge` to make one.
    """

    def __init__(
        self, contexts: list[str], arrays: Mapping[str, NDArray[Any]], retrievers: tuple[str, ...] = ("retriever",)
    ) -> None:
        self.retrievers = retrievers
        self._arrays = arrays
        self._row = {context: row for row, context in enumerate(contexts)}

    @classmethod
    def build(
        cls, rankings: Iterable[tuple[str, Ranking]], folder: str | Path | None = None, *, retriever: str = "retriever"
    ) -> RankedPool:
        """Store one retriever's rankings.

        Args:
            rankings: (context id, ranking), read once; with a folder only one is held at a time.
            folder: where to write; must not exist yet, and appears only when complete. None keeps the pool in memory.
            retriever: name of the retriever, kept with the pool.

        Raises:
            SamplingError: when a context comes twice or its scores rise with the rank.
            DataError: when the folder exists or cannot be written.
        """
        return cls._write(_falling(rankings), folder, (retriever,))

    @classmethod
    def open(cls, folder: str | Path) -> RankedPool:
        """Map a stored pool; rankings are read from disk when asked for.

        Raises:
            DataError: on a folder that is missing, incomplete, truncated or of another format.
        """
        return cls(*read_pool(Path(folder)))

    @classmethod
    def merge(
        cls,
        pools: Mapping[str, RankedPool],
        folder: str | Path | None = None,
        *,
        depth: int | None = None,
        rule: MergeRule = "round_robin",
    ) -> RankedPool:
        """Merge the pools of several retrievers, each document once.

        By default rank 1 of each retriever comes first, in the order given, then rank 2 of each, and so on. A document
        keeps the score of the retriever that brought it first, and remembers every retriever that found it
        (`finders`). A context that some retrievers lack is merged from the others.

        Args:
            pools: retriever name to pool, at most eight.
            folder: as in `build`.
            depth: documents kept of each merged ranking; None keeps all.
            rule: "round_robin", "stratified" or "rrf"; see `merge_rankings`.

        Raises:
            SamplingError: on no pools, more than eight, a depth below one, or an unknown rule.
            DataError: as in `build`.
        """
        if not 1 <= len(pools) <= 8:
            raise SamplingError(f"{len(pools)} pools to merge", "give one to eight")
        if depth is not None and depth < 1:
            raise SamplingError(f"a merged depth of {depth}", "keep at least one document, or None for all")
        check_rule(rule)
        contexts = dict.fromkeys(context for pool in pools.values() for context in pool)

        def merged() -> Iterator[tuple[str, Ranking]]:
            for context in contexts:
                parts = [pool.get(context) for pool in pools.values()]
                yield context, merge_rankings(parts, depth, rule)

        return cls._write(merged(), folder, tuple(pools))

    @classmethod
    def _write(
        cls, rankings: Iterable[tuple[str, Ranking]], folder: str | Path | None, retrievers: tuple[str, ...]
    ) -> RankedPool:
        if folder is not None:
            with PoolWriter(Path(folder), retrievers) as writer:
                for context, ranking in rankings:
                    writer.add(context, ranking)
            return cls.open(folder)
        kept = dict[str, Ranking]()
        for context, ranking in rankings:
            if context in kept:
                raise SamplingError(f"two rankings of context {context!r}", "give each context once")
            kept[context] = ranking
        lists = list(kept.values())
        arrays: dict[str, NDArray[Any]] = {
            "offsets": np.cumsum([0, *map(len, lists)], dtype=np.int64),
            "positions": np.concatenate([np.empty(0, np.int64), *(r.positions for r in lists)]),
            "scores": np.concatenate([np.empty(0, np.float32), *(r.scores for r in lists)]),
        }
        found_by = [r.found_by for r in lists if r.found_by is not None]
        if found_by:
            arrays["found_by"] = np.concatenate(found_by)
        return cls(list(kept), arrays, retrievers)

    def __getitem__(self, context_id: str) -> Ranking:
        """The ranking of a context.

        Raises:
            SamplingError: when the pool has none.
        """
        ranking = self.get(context_id)
        if ranking is None:
            raise SamplingError(
                f"the pool has no ranking of context {context_id!r}", "retrieve for it, or leave the context out"
            )
        return ranking

    def get(self, context_id: str) -> Ranking | None:
        """The ranking of a context, None when the pool has none."""
        row = self._row.get(context_id)
        if row is None:
            return None
        rows = slice(int(self._arrays["offsets"][row]), int(self._arrays["offsets"][row + 1]))
        found_by = self._arrays.get("found_by")
        return Ranking(
            positions=self._arrays["positions"][rows].astype(np.int64),
            scores=np.array(self._arrays["scores"][rows]),
            found_by=None if found_by is None else np.array(found_by[rows]),
        )

    def __contains__(self, context_id: object) -> bool:
        return context_id in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def finders(self, ranking: Ranking, index: int) -> tuple[str, ...]:
        """Names of the retrievers that found the document at an index of one of this pool's rankings."""
        if ranking.found_by is None:
            return self.retrievers
        bits = int(ranking.found_by[index])
        return tuple(name for r, name in enumerate(self.retrievers) if bits >> r & 1)


def _falling(rankings: Iterable[tuple[str, Ranking]]) -> Iterator[tuple[str, Ranking]]:
    # Rising scores mean a list in the wrong order, or distances: every band of ranks would be drawn upside down.
    for context, ranking in rankings:
        if ranking.found_by is None and (np.diff(ranking.scores) > 0).any():
            rank = int(np.argmax(np.diff(ranking.scores) > 0)) + 1
            raise SamplingError(
                f"context {context!r}: the score at rank {rank + 1} is higher than at rank {rank}",
                "order documents best first; negate distances",
            )
        yield context, ranking
