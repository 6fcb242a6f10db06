"""What `scale` measures of one collection, a task a process: python -m benchmarks.scale_tasks TASK ARGUMENTS RESULT."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scale_data
from benchmarks.scale_alone import resident
from distillir.errors import MissingDependencyError
from distillir.index import EngineLine, Index, SparseQuery, build_index, open_index
from distillir.vectors import SparseVectors

IN_PLACE = "exact_in_place"  # the vectors searched where they lie, by their inverted copy: `ExactIndex.over`
QUERIES = "queries.npz"
K = 100
BATCH = 10  # contexts of a training step


def collection(folder: str, documents: int, queries: int) -> dict[str, Any]:
    """Make a collection and queries: seconds, disk, and what they are like."""
    from distillir.evaluation import flops_per_query

    started = time.perf_counter()
    vectors = scale_data.write(Path(folder) / "vectors", documents)
    seconds = time.perf_counter() - started
    asked = scale_data.save_queries(Path(folder) / QUERIES, queries)
    flops = flops_per_query(asked, vectors.document_frequency(), documents)
    return {
        "seconds": seconds,
        "disk_mb": disk(vectors.path),
        "active": vectors.nnz / documents,
        "flops": float(flops.mean()),
    }


def build(folder: str, engine: str, line: EngineLine) -> dict[str, Any]:
    """Build an index: seconds and disk."""
    vectors = SparseVectors.open(Path(folder) / "vectors")
    place = Path(folder) / engine
    before = disk(vectors.path)
    started = time.perf_counter()
    if engine == IN_PLACE:
        vectors.invert()
    else:
        build_index(place, line, vectors, made_from=vectors.fingerprint)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "disk_mb": disk(vectors.path) - before if engine == IN_PLACE else disk(place)}


def search(folder: str, engine: str, queries: int) -> dict[str, Any]:
    """Open an index and ask: milliseconds, and the share of the exact 100 best that is found."""
    rows = scale_data.read_queries(Path(folder) / QUERIES, queries)
    asked = [SparseQuery(*rows.row(i)) for i in range(queries)]
    started = time.perf_counter()
    with opened(Path(folder), engine) as index:
        opening = time.perf_counter() - started
        for query in asked[:5]:
            index.search(query, K)
        spent, found = [], []
        for query in asked:
            started = time.perf_counter()
            hits = index.search(query, K)
            spent.append(1e3 * (time.perf_counter() - started))
            found.append({hit.id for hit in hits})
    best = Path(folder) / "best.json"
    if engine == IN_PLACE:
        best.write_text(json.dumps([sorted(ids) for ids in found]), encoding="utf-8")
    wanted = [set(ids) for ids in json.loads(best.read_text(encoding="utf-8"))]
    shares = [len(ids & all_) / len(all_) for ids, all_ in zip(found, wanted, strict=True)]
    p50, p95 = np.quantile(spent, [0.5, 0.95])
    return {
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "open_s": opening,
        "found": float(np.mean(shares)),
    }


def opened(folder: Path, engine: str) -> Index:
    """The index that `build` made."""
    if engine == IN_PLACE:
        from distillir.index.exact import ExactIndex

        return ExactIndex.over(SparseVectors.open(folder / "vectors"))
    return open_index(folder / engine)


def rank(folder: str, contexts: int, depth: int = 1000) -> dict[str, Any]:
    """Rank documents for a teacher's vectors, as a training that draws candidates asks for once: seconds a context."""
    from distillir.encoding.pool import best
    from distillir.sampling import RankedPool, Ranking

    postings = SparseVectors.open(Path(folder) / "vectors").invert()
    asked = scale_data.read_queries(Path(folder) / QUERIES, contexts)
    started = time.perf_counter()
    rankings = []
    for i in range(contexts):
        scores = postings.scores(*asked.row(i))
        top = best(scores, depth)
        rankings.append((str(i), Ranking(top, scores[top])))
    seconds = time.perf_counter() - started
    RankedPool.build(rankings, Path(folder) / "pool")
    return {"seconds_per_context": seconds / contexts}


def locate(folder: str) -> dict[str, Any]:
    """Find one document by its id: the first look-up sorts a table of all."""
    vectors = SparseVectors.open(Path(folder) / "vectors")
    before = resident().get("RssAnon", 0.0)
    started = time.perf_counter()
    vectors.position([vectors.ids[-1]])
    return {"seconds": time.perf_counter() - started, "table_mb": resident().get("RssAnon", 0.0) - before}


def step(folders: list[str], strategy: str, steps: int, rounds: int) -> dict[str, Any]:
    """Training steps on each collection, turn by turn; see `scale_step`."""
    from benchmarks.scale_step import steps_on

    return steps_on([Path(folder) for folder in folders], strategy, steps, rounds)


def ray(folder: str, passages: int, data: str | None) -> dict[str, Any]:
    """What encoding on Ray costs over encoding here, on passages of the data sets or else of Python's own."""
    from benchmarks.scale_passages import documented, public
    from benchmarks.scale_ray import overhead

    if find_spec("ray") is None:
        raise MissingDependencyError("ray", "ray")
    place = Path(folder)
    texts = documented() if data is None else public(Path(data), place)
    return dict(overhead(texts, place / "encoded", limit=passages))


def disk(folder: Path) -> float:
    """Megabytes that the files take; an engine reserves more than it fills."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    one.__name__: one for one in (collection, build, search, rank, locate, step, ray)
}


def perform(task: str, **given: Any) -> dict[str, Any]:
    """What a task returns; where a package is missing, `skipped` says which."""
    try:
        return TASKS[task](**given)
    except MissingDependencyError as error:
        return {"skipped": str(error)}


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(perform(sys.argv[1], **json.loads(sys.argv[2]))), encoding="utf-8")
