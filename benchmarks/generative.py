"""Generative retrieval distilled with rank gaps (DGR), from SmolLM2-135M: XQuAD as passages, and MTRAG's clapnq.

XQuAD's 1,190 questions are split by question, so every paragraph may be known from training; clapnq is split by
conversation. Both learn to write from train questions and, with `--full`, from cropped sentences. Second trainings go
on from the first, over the student's own lists: hard labels, rank gaps by two teachers, and other objectives. Steps are
fixed before, nothing is selected on test; values are means over seeds, differences paired, intervals by conversation.

`--full` is sized by the machine: on a processor a twentieth of the learning. Without it everything is
small enough for some minutes on two cores, and shows only that the parts work together.
`undecided` names collections where the first training stays under a third of BM25's R@5: what follows it says little
there, and a larger start or more questions would change that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.generative_data import Collection, Size, load, scaled, size_of, teachers
from benchmarks.generative_index import costs, search_costs, valid_share
from benchmarks.generative_student import Bench, held, rows, start_of
from benchmarks.mtrag_data import say
from benchmarks.teachers_students import summary
from distillir.data import Run
from distillir.errors import ConfigError
from distillir.evaluation import evaluate
from distillir.recipes.systems import bm25
from distillir.students import GenerativeStudent

MEASURES = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "r100": "R@100", "mrr": "RR@10"}
DECIDED = 1 / 3  # of BM25's R@5


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The tables, and what search and index cost."""
    if data is None:
        raise ConfigError("generative needs the data sets", "give --data DIR")
    return measured(data, size_of(full))


def measured(data: Path, size: Size) -> dict[str, Any]:
    """The result at a size."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    start = start_of(size)
    result: dict[str, Any] = {"bench": "generative", "model": size.model, "seeds": list(size.seeds), "rows": {}}
    details: dict[str, Any] = {}
    for name in size.collections:
        collection = load(data, name, size)
        bench = Bench.of(collection, size, start)
        result["rows"][name], details[name], students = table(bench)
        asked = collection.test[: size.speed]
        details[name]["search"] = {row: search_costs(bench, student, asked) for row, student in students.items()}
        details[name]["valid"] = valid_share(bench, students["dgr" if "dgr" in students else "stage_one"], asked)
        details[name]["index_bytes"] = bench.index.nbytes
    first = details[size.collections[0]]
    widest = str(max(size.widths))
    result["valid"] = min(one["valid"]["valid"] for one in details.values())
    result["constraint_share"] = first["search"]["stage_one"][widest]["constraint_share"]
    result["undecided"] = [
        name for name, told in result["rows"].items() if told["stage_one"]["r5"] < DECIDED * told["bm25"]["r5"]
    ]
    return result | {"index": costs(size.tokens), "details": details}


def table(bench: Bench) -> tuple[dict[str, Any], dict[str, Any], dict[str, GenerativeStudent]]:
    """Rows and differences of one collection, and the students of the first seed."""
    collection, size = bench.collection, bench.size
    values: dict[str, dict[str, list[Any]]] = {}

    def note(name: str, found: Run) -> None:
        for query, told in per_query(found, collection).items():
            values.setdefault(name, {}).setdefault(query, []).append(told)

    note("bm25", bm25(collection.corpus, [(c.id, c.conversation.question) for c in collection.test], 100))
    untrained = bench.found(start_of(size))
    students: dict[str, GenerativeStudent] = {}
    lists: dict[str, Any] = {}
    for seed in size.seeds:
        learnt = bench.learn(seed)
        note("untrained", untrained)
        note("stage_one", bench.found(learnt))
        contexts, own = bench.lists(learnt)
        labels = teachers(collection.corpus, contexts, own.run(collection.corpus))
        lists.setdefault("own", []).append(held(own, contexts, bench))
        for teacher, said in labels.items():
            lists.setdefault(teacher, []).append(round(recall(said, contexts), 4))
        labels["scaled"] = scaled(labels["dense"], own.run(collection.corpus))
        students.setdefault("stage_one", learnt)
        for name, row in rows(size).items():
            timed = name == "dgr" and name not in students
            made = bench.rank(name, row, learnt, contexts, own, labels, seed, again=timed)
            if made is not None:
                note(name, made[0])
                if timed:
                    students.setdefault(name, made[1])
    complete = {name: found for name, found in values.items() if name == "bm25" or _seeds(found) == len(size.seeds)}
    means = {name: {q: np.mean(told, axis=0) for q, told in found.items()} for name, found in complete.items()}
    group = {c.id: c.group for c in collection.test}
    pairs = [(name, other) for name in means for other in ("stage_one", "hard", "bm25") if other in means]
    kept = [(one, other) for one, other in pairs if one not in (other, "bm25")]
    told = summary(means, group, kept, tuple(MEASURES))
    flat = {name: {measure: span[0] for measure, span in spans.items()} for name, spans in told["rows"].items()}
    say(f"{collection.name}: {flat}")
    about = {"train": len(collection.train), "passages": len(collection.corpus), "lists": lists}
    return flat, {**told, **about}, students


def per_query(found: Run, collection: Collection) -> dict[str, list[float]]:
    """Query → its measures, in the order of `MEASURES`."""
    qrels = {c.id: dict(c.relevant) for c in collection.test}
    told = evaluate(found, qrels, list(MEASURES.values()))
    columns = np.stack([told.of(measure) for measure in MEASURES.values()], 1)
    return dict(zip(told.query_ids, columns.tolist(), strict=True))


def recall(found: Run, contexts: Any) -> float:
    """R@5 of a teacher's order of the own lists; what a student could reach by learning it all."""
    qrels = {c.id: dict(c.relevant) for c in contexts}
    return evaluate(found, qrels, ["R@5"]).means["R@5"]


def _seeds(found: Mapping[str, list[Any]]) -> int:
    return min(len(told) for told in found.values())
