"""What grows with the collection: building and searching an index, a training step, the memory of a process.

Collections are synthetic: 30,522 dimensions as popular as words are, a hundred of them in a document, weights
log-normal, a thousand topics. Each is made once, in blocks, and removed when it is measured; larger ones begin with
smaller ones. Every task is a process of its own. Memory is RssAnon: what no file backs.

Engines: `exact` and `qdrant_edge` as a recipe builds them; `exact_in_place` searches the stored vectors where they lie;
`seismic` keeps 500 postings a term, a seventh of its default, which bounds its build. A training step of SPLADE-tiny is
DiSCo's (`sampled`: ten contexts, a gold and sixteen drawn candidates each) or over every document (`collection`). Sizes
past `Size.indexed` have vectors, the sampled step and exact search only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mtrag_data import BUILD, say
from benchmarks.scale_alone import alone
from benchmarks.scale_growth import crossings, lines_of, passes, slope
from benchmarks.scale_report import write_report
from benchmarks.scale_tasks import BATCH, IN_PLACE
from distillir.errors import ConfigError
from distillir.index import EngineLine

ENGINES: dict[str, EngineLine] = {
    IN_PLACE: "exact",
    "exact": "exact",
    "qdrant_edge": "qdrant_edge",
    "seismic": {"name": "seismic", "postings": 500},
}
LEVEL_MS = 50  # of a query's p95
PUBLIC = 50_000  # passages of the public data sets, where they are given
PER_DOCUMENT, PER_INDEXED = (
    1_300,
    12_000,
)  # bytes on disk at worst: vectors and their inverted copy; an index beside them

Perform = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        documents: of each collection, rising.
        indexed: the largest with indexes of their own and steps over the whole collection.
        seismic: the largest that Seismic indexes.
        queries: asked of each engine.
        steps: of a training.
        rounds: trainings on the smallest and the largest collection by turns.
        passages: of the standard library's documentation, encoded here and on Ray; 0 = none.
    """

    documents: tuple[int, ...]
    indexed: int
    seismic: int
    queries: int = 100
    steps: int = 12
    rounds: int = 5
    passages: int = 0


SHORT = Size((10_000, 40_000, 160_000), indexed=160_000, seismic=40_000)
FULL = Size((10_000, 100_000, 1_000_000, 5_000_000), indexed=1_000_000, seismic=1_000_000, passages=10_000)


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The figures; of `data` only passages for Ray are read."""
    return measured(FULL if full else SHORT, BUILD / "scale", data=data)


def measured(size: Size, folder: Path, perform: Perform = alone, data: Path | None = None) -> dict[str, Any]:
    """The result at a size, and its report in `folder`.

    Raises:
        ConfigError: not enough room on the disk.
    """
    place = folder / "collections"
    shutil.rmtree(folder, ignore_errors=True)
    place.mkdir(parents=True)
    check_room(size, place)
    first, last = place / str(size.documents[0]), place / str(size.documents[-1])
    rows: dict[str, dict[str, Any]] = {}
    try:
        for documents in size.documents:
            here = place / str(documents)
            rows[str(documents)] = of_collection(here, documents, size, perform)
            if here not in (first, last):
                shutil.rmtree(here)
        say("smallest and largest by turns")
        turns = steps(perform, [first, last], "sampled", size, size.rounds)["collections"]
        ray = on_ray(perform, place, size, data)
    finally:
        shutil.rmtree(place)
    result = summary(size, rows, [turn["step_s"] for turn in turns], ray)
    result["report"] = str(write_report(folder / "report.html", result))
    return result


def of_collection(here: Path, documents: int, size: Size, perform: Perform) -> dict[str, Any]:
    """Everything that is measured of one collection."""
    say(f"{documents:,} documents")
    small = documents <= size.indexed
    contexts = BATCH * size.steps
    made = perform("collection", folder=str(here), documents=documents, queries=max(size.queries, contexts))
    found: dict[str, Any] = {"collection": made, "build": {}, "search": {}, "step": {}}
    for engine, line in ENGINES.items():
        if (engine != IN_PLACE and not small) or (engine == "seismic" and documents > size.seismic):
            continue
        say(f"  {engine}")
        found["build"][engine] = built = perform("build", folder=str(here), engine=engine, line=line)
        if "skipped" not in built:
            found["search"][engine] = perform("search", folder=str(here), engine=engine, queries=size.queries)
        shutil.rmtree(here / engine, ignore_errors=True)
    say("  training")
    found["rank"] = perform("rank", folder=str(here), contexts=contexts)
    found["locate"] = perform("locate", folder=str(here))
    for strategy in ("sampled", "collection") if small else ("sampled",):
        one = steps(perform, [here], strategy, size, 1)
        found["step"][strategy] = {**one.pop("collections")[0], **one}
    return found


def steps(perform: Perform, folders: list[Path], strategy: str, size: Size, rounds: int) -> dict[str, Any]:
    """Training steps on each of the collections."""
    named = [str(folder) for folder in folders]
    return perform("step", folders=named, strategy=strategy, steps=size.steps, rounds=rounds)


def on_ray(perform: Perform, place: Path, size: Size, data: Path | None) -> dict[str, Any]:
    """What Ray costs, or why that is not known."""
    if not size.passages:
        return {"skipped": "measured with --full only"}
    passages = PUBLIC if data else size.passages
    say(f"Ray, {passages:,} passages")
    return perform("ray", folder=str(place), passages=passages, data=data and str(data.resolve()))


def summary(size: Size, rows: dict[str, Any], turns: list[float], ray: dict[str, Any]) -> dict[str, Any]:
    """The result; figures of a size that was not run are None."""
    first, last = (str(size.documents[i]) for i in (0, -1))
    ratio = turns[-1] / turns[0]

    def memory(documents: str) -> float | None:
        found: float | None = rows.get(documents, {}).get("step", {}).get("sampled", {}).get("rss_mb")
        return found

    lines = lines_of(rows)
    levels = {name: passes(points, LEVEL_MS) for name, points in lines["query p95"].items()}
    return {
        "bench": "scale",
        "step_time_5m_over_10k": round(ratio, 3) if (first, last) == ("10000", "5000000") else None,
        "rss_mb_10k": memory("10000"),
        "rss_mb_5m": memory("5000000"),
        "ray_overhead": ray.get("ray_overhead"),
        "step_time_largest_over_smallest": round(ratio, 3),
        "rss_mb_smallest": memory(first),
        "rss_mb_largest": memory(last),
        "documents": list(size.documents),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count(),
        "slopes": rounded({what: {name: slope(line) for name, line in found.items()} for what, found in lines.items()}),
        "crossings": rounded(crossings(lines["query p50"])),
        f"documents_at_{LEVEL_MS}_ms_p95": {
            name: {"documents": float(f"{found[0]:.2g}"), "measured": found[1]}
            for name, found in levels.items()
            if found[1] or name != "seismic"  # which does not grow linearly
        },
        "ray": rounded(ray),
        "rows": rounded(rows),
    }


def rounded(value: Any) -> Any:
    """Four digits of every figure."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def check_room(size: Size, folder: Path) -> None:
    """Refuse before the first document is made.

    Raises:
        ConfigError: less is free than the largest collection, or the largest index, may take.
    """
    needed = max(PER_DOCUMENT * size.documents[-1], PER_INDEXED * size.indexed)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(f"{free / 1e9:.1f} GB are free in {folder}", f"free {needed / 1e9:.1f} GB")
