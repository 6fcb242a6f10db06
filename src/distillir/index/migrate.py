"""An embedded index moved into another engine: copied, compared, and put in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillir.errors import SearchIndexError
from distillir.index.options import EngineLine
from distillir.index.protocol import Block, Finishing, Index, Listing, ScoredId, SparseQuery
from distillir.index.registry import create_index, discard_index, open_index, read_engine, retune_index
from distillir.index.swap import Swap, copy_of, finish_swap, kept_of, note, noted, same_place, settle, swap, swapped

QUERIES = 50
DEPTH = 100
_TERMS = 32  # of a document's terms, those that a question to it would have
_CLOSE = 1e-4  # relative: engines add up the same products in another order


@dataclass(frozen=True)
class Migration:
    """What a migration did.

    Attributes:
        documents: in both engines.
        written: of them, sent by this run; the others were there, from a run that was stopped.
        queries: that found the same documents in both.
        kept: folder of the index as it was.
    """

    documents: int
    written: int
    queries: int
    kept: Path


def migrate_index(
    path: str | Path,
    engine: EngineLine,
    *,
    queries: int = QUERIES,
    depth: int = DEPTH,
    watch: Callable[[int, int], None] | None = None,
    then: Callable[[EngineLine], object] | None = None,
) -> Migration:
    """Copy an embedded index into another engine, compare the two, and let the folder mean the new one.

    Nobody finds the copy before it was compared. The old index stays beside the new one, as `PATH.before`. A migration
    that was stopped goes on, whenever that was: documents that are there and equal are not sent again.

    Args:
        path: folder of the index; nothing else may change it meanwhile.
        engine: where to; a key of `ENGINES`, or a mapping of its `name` and options.
        queries: how many to compare by, made of documents drawn from the index.
        depth: best documents of each that must be the same, but for equal scores.
        watch: told (done, total) documents.
        then: told the engine once the folder means it; a migration is stopped, not done, until this has returned.

    Raises:
        SearchIndexError: no embedded index there, an engine that does not answer, or copies that differ.
        ConfigError: no such engine or option. MissingDependencyError: its package is not installed.
    """
    folder, tell = Path(path).absolute(), then or (lambda _: None)
    kept = kept_of(folder)
    read_engine(engine)
    done, written = swapped(folder), 0
    if done is not None and not same_place(done.engine, engine):
        finish_swap(folder, tell)  # of a migration to yet another engine
        done = None
    if done is None:
        if kept.exists():
            raise SearchIndexError(
                f"{kept} is in the way", "remove it, if the index of an earlier migration is not needed"
            )
        done, written = _copied(folder, engine, queries, depth, watch)
        swap(folder, done)
    retune_index(folder, engine)
    tell(engine)
    settle(folder)
    return Migration(done.documents, written, done.queries, kept)


def difference(first: Index, second: Index, queries: Sequence[SparseQuery], depth: int = DEPTH) -> str:
    """What two indexes differ in, empty where they hold as many documents and find the same ones.

    Args:
        first, second: the indexes.
        queries: to search for.
        depth: best documents of each that must be the same, but for equal scores.
    """
    if len(first) != len(second):
        return f"{len(first):,} documents here, {len(second):,} there"
    here, there = first.search_batch(queries, depth), second.search_batch(queries, depth)
    differing = sum(not same_best(one, two) for one, two in zip(here, there, strict=True))
    return f"{differing} of {len(queries)} queries find other documents" if differing else ""


def same_best(one: Sequence[ScoredId], two: Sequence[ScoredId], close: float = _CLOSE) -> bool:
    """Whether two lists hold the same documents with the same scores, but for the order of equal ones.

    Args:
        one, two: best first.
        close: relative difference up to which scores count as equal.
    """
    if len(one) != len(two):
        return False
    if not one:
        return True
    a, b = np.array([hit.score for hit in one]), np.array([hit.score for hit in two])
    if not np.allclose(a, b, rtol=close, atol=0):
        return False
    edge = a[-1] * (1 + 2 * close)  # of those that equal the last one, any may have been left out
    known = dict(two)
    for left, right in ((one, known), (two, dict(one))):
        for hit in left:
            if hit.score > edge and not np.isclose(right.get(hit.id, np.inf), hit.score, rtol=close, atol=0):
                return False
    return True


def _copied(
    folder: Path, engine: EngineLine, queries: int, depth: int, watch: Callable[[int, int], None] | None
) -> tuple[Swap, int]:
    """A whole copy beside the folder, compared; and how many documents were written to it now."""
    copy = copy_of(folder)
    with open_index(folder) as source:
        if not isinstance(source, Listing):
            raise SearchIndexError(f"{folder} is no embedded index", "index the documents with the other engine")
        source.delete([])  # becomes the one that may write: nobody else changes it meanwhile
        with _copy_of(source, copy, engine) as target:
            written, asked = _send(source, source, target, queries, watch)
            found = difference(source, target, asked, depth)
            if not found:
                target.optimize()
                if isinstance(target, Finishing):
                    target.finish()
        if found:
            discard_index(copy)
            raise SearchIndexError(f"the copy differs: {found}", "it was removed; migrate again")
        return Swap(engine, len(source), len(asked)), written


def _copy_of(source: Index, copy: Path, engine: EngineLine) -> Index:
    """The unfinished copy where there is one in just this engine, else a new one."""
    if noted(copy) == engine:
        note(copy, engine)  # it may say that the copy was compared, which does not hold once it is written to
        return open_index(copy, dim=source.dim, encoder=source.encoder)
    discard_index(copy)
    exact = engine if isinstance(engine, str) else {name: engine[name] for name in engine if name != "two_phase"}
    made = create_index(copy, exact, dim=source.dim, encoder=source.encoder)  # what is compared must miss nothing
    note(copy, engine)
    return made


def _send(
    source: Index, listing: Listing, target: Index, queries: int, watch: Callable[[int, int], None] | None
) -> tuple[int, list[SparseQuery]]:
    """How many documents were written, and a sample of all of them as queries."""
    total, resumed, done, written = len(source), len(target) > 0, 0, 0
    asked: list[SparseQuery] = []
    rng = np.random.default_rng(0)
    for block in listing.documents():
        if not (resumed and _holds(target, block)):
            target.add(block.ids, block.vectors, [json.loads(payload) for payload in block.payloads])
            written += len(block.ids)
        for i in range(len(block.ids)):  # each document is as likely as any other to stay (reservoir sampling)
            place = len(asked) if len(asked) < queries else int(rng.integers(done + i + 1))
            if place < queries:
                asked[place : place + 1] = [_query(*block.vectors.row(i))]
        done += len(block.ids)
        if watch is not None:
            watch(done, total)
    return written, asked


def _query(indices: NDArray[Any], values: NDArray[Any]) -> SparseQuery:
    """A document's heaviest terms: what a question to it would have."""
    kept = np.argsort(-values, kind="stable")[:_TERMS]
    return SparseQuery(indices[kept], values[kept])


def _holds(target: Index, block: Block) -> bool:
    """Whether a copy has just these documents."""
    try:
        vectors = target.vectors(block.ids)
        payloads = target.payloads(block.ids)
    except SearchIndexError:  # one is not there; where the engine is away, adding says so
        return False
    own = block.vectors
    same = np.array_equal(vectors.indptr, own.indptr) and np.array_equal(vectors.indices, own.indices)
    return (
        same
        and np.array_equal(vectors.values, own.values)
        and payloads == [json.loads(payload) for payload in block.payloads]
    )
