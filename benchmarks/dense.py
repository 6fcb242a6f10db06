"""Conversational retrieval on MTRAG over dense vectors: all-MiniLM-L6-v2 documents, frozen, and a student that reads
the conversation.

Train: MTRAG train turns of clapnq, cloud and fiqa, CANARD and QReCC, with the human's and a small LLM's rewrites.
`teacher` is the human's rewrite, `teacher_fused` the mean with the LLM's, `teacher_mixed`, from which `student` learns,
the mean with the untrained gate too.
Passages are cut at 128 tokens, half the model's own length, conversations of students at 64. `untrained` is the turn
gate before any training. Selection on dev only; each query is searched in its own domain's pooled corpus, which makes
R@100 optimistic: compare rows, quote none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from benchmarks.dense_data import FOLDER, MODEL, DenseMaterial, load, settings
from benchmarks.mtrag import rows
from benchmarks.mtrag_data import say
from distillir.errors import ConfigError
from distillir.evaluation import Comparison, compare, write_report
from distillir.recipes.dense_fit import fit_dense, label_dense
from distillir.recipes.dense_measure import (
    DenseQueries,
    DenseTestBed,
    dense_conversation,
    dense_last_turn,
    dense_rewrites,
)
from distillir.recipes.dense_recipe import dense_preset
from distillir.recipes.method import Method, preset
from distillir.recipes.record import commit, versions
from distillir.students import resolve
from distillir.students.dense import DenseStudent
from distillir.training import Tick, TrainSettings

SEED = 13
REWRITES = FOLDER / "rewrites"
TRAINING = TrainSettings(
    epochs=1,
    batch_size=32,
    lr=5e-5,
    lr_scale={"gate.": 10.0, "turns.": 10.0},
    warmup=0.05,
    seed=SEED,
    evaluate_every=40,
    precision="bf16",
)


@dataclass(frozen=True)
class Row:
    """One trained row of the table."""

    method: Method
    student: Mapping[str, object] = field(default_factory=dict)


def trained_rows(full: bool) -> dict[str, Row]:
    """Students by row; with `full`, what else was tried."""
    own = dense_preset()
    rewrites = own.model_copy(update={"teachers": {"human": 1.0, "llm": 1.0}})
    chosen = {"student": Row(own, {"gate": True})}
    if not full:  # which should end within ten minutes
        return chosen
    mse = preset("mse").model_copy(update={"teachers": own.teachers})
    whole = Method.model_validate({"teachers": own.teachers, "objective": own.objective, "pool": "collection"})
    return chosen | {
        "student_rewrites": Row(rewrites, {"gate": True}),
        "student_plain": Row(rewrites, {"gate": False}),
        "student_turns": Row(own, {"gate": True, "turn_embeddings": True}),
        "student_mse": Row(mse, {"gate": True}),
        "student_collection": Row(whole, {"gate": True}),
    }


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The table on dev and test."""
    if data is None:
        raise ConfigError("dense needs the data sets", "give --data DIR")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    material = load(data)
    beds = material.beds()
    students = {name: student(material, beds["dev"], name, row) for name, row in trained_rows(full).items()}
    tables = {}
    for split, bed in beds.items():
        say(f"evaluate {split}")
        tables[split] = table(material, bed, students)
        print(f"\n{split}\n{tables[split].text()}")
    record = {"commit": commit(), "versions": versions(), "seed": SEED, "settings": str(TRAINING)}
    write_report(FOLDER / "dense.html", tables["test"], record, "MTRAG test, dense: clapnq, cloud, fiqa")
    dev = {"dev": rows(tables["dev"])}
    return {"bench": "dense", "split": "test", "seed": SEED, "rows": rows(tables["test"]), "splits": dev}


def student(material: DenseMaterial, dev: DenseTestBed, name: str, row: Row) -> DenseStudent:
    """Train one row of the table."""
    contexts = [*material.train, *material.outside]
    chosen = settings(**row.student)
    start = DenseStudent.from_pretrained(resolve(MODEL), chosen)
    labelled = label_dense(contexts, material.encoder, material.pooled, row.method, REWRITES, start=start)
    say(f"train {name}: {len(labelled.contexts):,} contexts, share with gold {labelled.gold_share}")

    def watch(tick: Tick) -> None:
        if tick.step % 20 == 0 or tick.dev is not None:
            dev_text = "" if tick.dev is None else f", dev {tick.dev:.4f}"
            say(f"  {tick.step}/{tick.steps} loss {tick.loss:.4f}, {tick.steps_per_second:.2f} steps/s{dev_text}")

    trained, _ = fit_dense(
        resolve(MODEL),
        labelled,
        material.pooled,
        row.method,
        chosen,
        TRAINING,
        evaluate=lambda s: dev.figure(dense_conversation(s)),
        watch=watch,
    )
    return trained


def table(material: DenseMaterial, bed: DenseTestBed, students: Mapping[str, DenseStudent]) -> Comparison:
    """All rows on one split."""
    encoder = material.encoder
    untrained = DenseStudent.from_pretrained(resolve(MODEL), settings(gate=True))
    queries: dict[str, DenseQueries] = {
        "last_turn": dense_last_turn(encoder),
        "full_context": dense_conversation(encoder),
        "untrained": dense_conversation(untrained),
        "teacher": dense_rewrites(encoder, {"human": 1.0}, REWRITES),
        "teacher_fused": dense_rewrites(encoder, {"human": 1.0, "llm": 1.0}, REWRITES),
        "teacher_mixed": dense_rewrites(encoder, dense_preset().teachers, REWRITES, untrained),
    } | {name: dense_conversation(one) for name, one in students.items()}
    systems = [bed.measure(name, encode) for name, encode in queries.items()]
    return compare(systems, bed.qrels, bed.depth, bed.group, "untrained", corpus=bed.corpus, seed=SEED)
