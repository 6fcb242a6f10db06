"""Conversational retrieval on MTRAG: every way of reading a conversation, on the same queries and corpora.

Train: MTRAG train turns of clapnq, cloud and fiqa, CANARD and QReCC. Document side: SPLADE-tiny, untouched.
Selection on dev only. test = clapnq + cloud + fiqa, each query in its own domain's pooled corpus; govt and
DSTC11 are outside the training data. The pooled corpora make R@100 optimistic: compare rows, quote none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.mtrag_data import BUILD, MODEL, PLAIN, Material, load, say
from distillir.data import Run
from distillir.encoding.pool import best
from distillir.errors import ConfigError
from distillir.evaluation import Comparison, SystemResult, active_dims, compare, write_report
from distillir.recipes.fit import fit, label
from distillir.recipes.measure import TestBed
from distillir.recipes.method import preset
from distillir.recipes.record import commit, versions
from distillir.recipes.systems import Queries, bm25, conversation, gated, last_turn, rewrites
from distillir.students import SparseStudent, resolve
from distillir.training import Tick, TrainSettings

SEED = 13
REWRITES = BUILD / "rewrites"
# Row → preset. On dev, distillation over the whole collection came out ahead of drawn lists (mean of R@100 and
# nDCG@10: .603 and .593).
STUDENTS = {"mse": "mse", "disco": "disco", "student": "collection"}
MORE_STUDENTS = {"student_lists": "student"}  # with --full: the default run should end within ten minutes
SHOWN = ("r10", "r100", "ndcg10", "mrr", "active", "flops")
# Chosen on dev (see the results of --full); one epoch over 5,775 contexts.
TRAINING = TrainSettings(
    epochs=1, batch_size=32, lr=1e-4, lr_scale={"gate.": 10.0}, warmup=0.05, seed=SEED, evaluate_every=60
)


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The table; with `full`, the 2x2 and the cross-validation too."""
    if data is None:
        raise ConfigError("mtrag needs the data sets", "give --data DIR")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    material = load(data)
    beds = material.beds()
    gate = gated(resolve(MODEL), PLAIN)
    gate.screen = True
    chosen = STUDENTS | (MORE_STUDENTS if full else {})
    students = {name: student(material, beds["dev"], name, method) for name, method in chosen.items()}
    say("bm25")
    lexical = _bm25(material, beds.values())
    tables = {}
    for split, bed in beds.items():
        say(f"evaluate {split}")
        tables[split] = table(material, bed, gate, students, lexical, rewritten=split != "dstc11")
        print(f"\n{split}\n{tables[split].text()}")
    entity = within_entity(material, beds["dstc11"], gate, students)
    print(f"\ndstc11, within the entity\n{entity.text()}")
    record = {"commit": commit(), "versions": versions(), "seed": SEED, "settings": str(TRAINING)}
    write_report(BUILD / "mtrag.html", tables["test"], record, "MTRAG test: clapnq, cloud, fiqa")
    result = {
        "bench": "mtrag",
        "split": "test",
        "seed": SEED,
        "rows": rows(tables["test"]),
        "splits": {name: rows(t) for name, t in {**tables, "dstc11_entity": entity}.items() if name != "test"},
    }
    if full:
        from benchmarks.mtrag_full import study

        result["full"] = study(material)
    return result


def student(material: Material, dev: TestBed, name: str, preset_name: str) -> SparseStudent:
    """Train one row of the table."""
    method = preset(preset_name)
    labelled = label([*material.train, *material.outside], material.encoder, material.pooled, method, REWRITES)
    say(f"train {name}: {len(labelled.contexts):,} contexts, share with gold {labelled.gold_share}")

    def watch(tick: Tick) -> None:
        if tick.step % 30 == 0 or tick.dev is not None:
            dev_text = "" if tick.dev is None else f", dev {tick.dev:.4f}"
            say(f"  {tick.step}/{tick.steps} loss {tick.loss:.3f}, {tick.active or 0:.0f} active{dev_text}")

    settings = replace(PLAIN, gate=name.startswith("student"))
    if name == "disco":  # as published: the oldest fall off, nothing is shortened
        settings = replace(settings, render=replace(settings.render, budget="newest_first"))
    trained, _ = fit(
        resolve(MODEL),
        labelled,
        material.pooled,
        method,
        settings,
        TRAINING,
        evaluate=lambda s: dev.figure(conversation(s)),
        watch=watch,
        screen=True,
    )
    return trained


def table(
    material: Material,
    bed: TestBed,
    gate: SparseStudent,
    students: Mapping[str, SparseStudent],
    lexical: Run,
    *,
    rewritten: bool,
) -> Comparison:
    """All rows on one split."""
    queries: dict[str, Queries] = {
        "last_turn": last_turn(material.encoder),
        "full_context": conversation(material.encoder),
        "untrained_gate": conversation(gate),
    }
    if rewritten:
        queries["teacher"] = rewrites(material.encoder, {"human": 1.0}, REWRITES)
        queries["teacher_fused"] = rewrites(material.encoder, {"human": 1.0, "llm": 1.0}, REWRITES)
    queries |= {name: conversation(one) for name, one in students.items()}
    found = {c.id: lexical.get(c.id, {}) for c in bed.contexts}
    systems = [SystemResult("bm25_last", found), *(bed.measure(n, q) for n, q in queries.items())]
    return compare(systems, bed.qrels, bed.depth, bed.group, "untrained_gate", corpus=bed.corpus, seed=SEED)


def within_entity(
    material: Material, bed: TestBed, gate: SparseStudent, students: Mapping[str, SparseStudent]
) -> Comparison:
    """DSTC11 as it is meant to be used: only the snippets of the hotel or restaurant spoken of."""
    corpus, documents = material.corpora["dstc11"], material.documents["dstc11"]
    groups = corpus.groups()
    postings = documents.invert()
    queries: dict[str, Queries] = {
        "last_turn": last_turn(material.encoder),
        "full_context": conversation(material.encoder),
        "untrained_gate": conversation(gate),
    } | {name: conversation(one) for name, one in students.items()}
    systems = []
    for name, encode in queries.items():
        vectors = encode(bed.contexts)
        found: Run = {}
        for i, context in enumerate(bed.contexts):
            entities = {corpus.group(p) for p in corpus.position(list(context.relevant))}
            scores = np.where(np.isin(groups, sorted(entities)), postings.scores(*vectors.row(i)), 0).astype(np.float32)
            top = best(scores, 100)
            found[context.id] = {corpus.doc_id(int(p)): float(scores[p]) for p in top}
        counts = dict(zip((c.id for c in bed.contexts), map(float, active_dims(vectors)), strict=True))
        systems.append(SystemResult(name, found, active=counts))
    return compare(systems, bed.qrels, bed.depth, bed.group, "untrained_gate", seed=SEED)


def rows(compared: Comparison) -> dict[str, dict[str, float | None]]:
    """Means and 95 % intervals by row."""
    wanted = [f"{key}{end}" for key in SHOWN for end in ("", "_low", "_high")]
    return {
        row["system"]: {key: round(row[key], 4) for key in wanted if row.get(key) is not None}
        for row in compared.table()
    }


def _bm25(material: Material, beds: Iterable[TestBed]) -> Run:
    """BM25 runs of all beds, each corpus indexed once."""
    asked: dict[str, list[tuple[str, str]]] = {}
    for bed in beds:
        for context in bed.contexts:
            asked.setdefault(context.domain, []).append((context.id, context.conversation.question))
    found: Run = {}
    for domain, queries in asked.items():
        found |= bm25(material.corpora[domain], queries, 100)
    return found
