"""Recipe `dense`: from conversations to a student that searches an existing dense index without a language model.

    own vectors, or corpus ─encode─▶ vectors ─┬─▶ teacher's rankings ─▶ training ─▶ student ─▶ run folder
    contexts ─▶ rewrite vectors ──────────────┘                                     runs, report

Every stage leaves its result in the run folder; run again, it goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distillir.data import Context, Corpus, write_qrels, write_run
from distillir.errors import ConfigError, DataError
from distillir.evaluation import Comparison, SystemResult, compare, write_report
from distillir.index.dense import DenseIndex
from distillir.labels import LabelStore
from distillir.recipes.dense_fit import DenseLabelled, label_dense
from distillir.recipes.dense_measure import DenseTestBed, dense_conversation, dense_last_turn, dense_rewrites
from distillir.recipes.dense_recipe import DenseRecipe
from distillir.recipes.dense_stages import dense_documents, dense_encoder, dense_start, dense_trained, index_folder
from distillir.recipes.marks import file_digest, mark_of, write_text
from distillir.recipes.measure import DEPTH, one_by_one
from distillir.recipes.method import UNTRAINED, Method
from distillir.recipes.record import commit, versions
from distillir.recipes.stored import through_store
from distillir.recipes.systems import bm25
from distillir.recipes.workshop import at_work, judged_counts
from distillir.search.dense import DenseRetriever
from distillir.students.checkpoint import is_student
from distillir.students.dense import DenseStudent
from distillir.training import TrainResult
from distillir.vectors.dense import DenseVectors

TITLE = "Conversational search, dense"
BASELINE = UNTRAINED  # a training that does not beat it has taught nothing


@dataclass(frozen=True)
class DenseRun:
    """What a run made."""

    out: Path
    student: DenseStudent
    training: TrainResult
    comparison: Comparison | None
    report: Path | None


def run_dense(recipe: DenseRecipe, *, quiet: bool = False) -> DenseRun:
    """Run the whole recipe.

    Args:
        recipe: what to do.
        quiet: no progress display.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts or documents that cannot be read or have nothing to say.
        VectorsError: vectors that are not the model's, or another process works in the run folder.
    """
    if recipe.train is None or recipe.dev is None:
        missing = "train" if recipe.train is None else "dev"
        raise ConfigError(f"{missing}: the recipe names no {missing} contexts", "name them")
    with at_work(recipe, quiet=quiet) as shop:
        out, stages, method = recipe.out, shop.stages, recipe.chosen_method()
        encoder, start = dense_encoder(recipe), dense_start(recipe)
        writers = {teacher: weight for teacher, weight in method.teachers.items() if teacher != UNTRAINED}
        corpus, documents = dense_documents(recipe, encoder, stages)
        counts = {name: judged_counts(recipe.splits()[name], found, corpus) for name, found in shop.contexts.items()}
        bed = DenseTestBed(shop.contexts["dev"], {"": documents})
        stages.say("label")
        with LabelStore(recipe.labels or out / "labels.sqlite") as store:
            labelled = label_dense(
                shop.contexts["train"],
                encoder,
                documents,
                method,
                out / "rewrites",
                start=start,
                store=store,
                origin=_origin(recipe.train),
            )
            judged: Sequence[Context] = ()
            if recipe.test is not None:
                judged = through_store(store, shop.contexts["test"], writers, _origin(recipe.test))
        for why, lost in labelled.dropped.items():
            stages.say(f"left out, {why}: " + ", ".join(f"{n} of {source}" for source, n in lost.items()))
        student, result = dense_trained(recipe, labelled, documents, bed, encoder, stages)
        index_folder(out, documents)
        record = _record(recipe, student, labelled, result, {"documents": len(documents), "splits": counts})
        write_text(out / "run.json", json.dumps(record, indent=2, default=str) + "\n")
        comparison = report = None
        if recipe.test is not None:
            stages.say("evaluate")
            comparison = _tested(recipe, method, judged, corpus, documents, encoder, start, student)
            report = write_report(out / "report.html", comparison, record, TITLE)
    return DenseRun(out, student, result, comparison, report)


def open_dense_retriever(out: str | Path) -> DenseRetriever:
    """The retriever of a finished run folder.

    Raises:
        DataError: no such folder, or a run that has not got so far.
    """
    out = Path(out)
    mark = mark_of(out, "index")
    if not is_student(out / "student") or not mark.is_file():
        raise DataError(out, "not a finished run folder", cure="run the recipe to its end")
    folder = json.loads(mark.read_text(encoding="utf-8"))["vectors"]
    student = DenseStudent.from_pretrained(out / "student")
    return DenseRetriever(student, DenseIndex.open(folder, dim=student.dim), Corpus.open(out / "corpus.arrow"))


def _tested(
    recipe: DenseRecipe,
    method: Method,
    contexts: Sequence[Context],
    corpus: Corpus,
    documents: DenseVectors,
    encoder: DenseStudent,
    start: DenseStudent,
    student: DenseStudent,
) -> Comparison:
    """Runs, judgements and comparison in the run folder. Where every context has a rewrite, rewrites and teacher have
    rows; they are one where the untrained student is no teacher."""
    bed = DenseTestBed(contexts, {"": documents})
    writers = {teacher: weight for teacher, weight in method.teachers.items() if weight and teacher != UNTRAINED}
    retriever = DenseRetriever(student, DenseIndex(documents), corpus)
    latency = one_by_one(lambda c: retriever.retrieve(c.conversation, 10), bed.contexts)
    asked = [(c.id, c.conversation.question) for c in bed.contexts]
    systems = [
        SystemResult("bm25_last", bm25(corpus, asked, DEPTH)),
        bed.measure("last_turn", dense_last_turn(encoder)),
        bed.measure("full_context", dense_conversation(encoder)),
        bed.measure(BASELINE, dense_conversation(start)),
    ]
    if all(any(c.rewrites.get(teacher) for teacher in writers) for c in bed.contexts):
        kept, note = recipe.out / "rewrites", "reads the rewrite"
        if UNTRAINED in method.teachers:
            systems.append(bed.measure("rewrite", dense_rewrites(encoder, writers, kept), note=note))
        queries = dense_rewrites(encoder, method.teachers, kept, start)
        systems.append(bed.measure("teacher", queries, note=note))
    systems.append(bed.measure("student", dense_conversation(student), latency=latency))
    seed = recipe.train_settings().seed
    compared = compare(systems, bed.qrels, bed.depth, bed.group, BASELINE, corpus=bed.corpus, seed=seed)
    write_qrels(recipe.out / "runs" / "qrels.txt", bed.qrels)
    for system in systems:
        run = {query: dict(scores) for query, scores in system.run.items()}
        write_run(recipe.out / "runs" / f"{system.name}.trec", run, tag=system.name)
    write_text(recipe.out / "comparison.json", compared.to_json() + "\n")
    return compared


def _record(
    recipe: DenseRecipe, student: DenseStudent, labelled: DenseLabelled, result: TrainResult, data: dict[str, Any]
) -> dict[str, Any]:
    """The run record; `data` says what was read."""
    settings = recipe.resolved()
    contexts = {"train_contexts": len(labelled.contexts), "train_contexts_dropped": labelled.dropped}
    return {
        "commit": commit(),
        "versions": versions(),
        "seed": settings["training"]["seed"],
        "settings": settings,
        "student": student.describe() | {"fingerprint": student.fingerprint()},
        "training": asdict(result),
        "data": {"corpus": str(recipe.corpus), **data, **contexts},
        "contexts_with_gold": labelled.gold_share,
    }


def _origin(path: Path) -> str:
    return f"{path.name} {file_digest(path)}"
