"""The table of a run: every way of reading a conversation, on the test contexts."""

from __future__ import annotations

from collections.abc import Sequence

from distillir.data import Context, Corpus, write_qrels, write_run
from distillir.evaluation import Comparison, Example, SystemResult, compare
from distillir.index import open_index
from distillir.recipes.examples import examples
from distillir.recipes.fusing import fused_teacher
from distillir.recipes.marks import write_text
from distillir.recipes.measure import DEPTH, TestBed, one_by_one
from distillir.recipes.method import Method
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.systems import bm25, conversation, gated, last_turn
from distillir.search import Retriever
from distillir.students import SparseStudent, resolve
from distillir.vectors import CSR, SparseVectors

BASELINE = "untrained_gate"  # a training that does not beat it has taught nothing


def tested(
    recipe: SparseRecipe,
    method: Method,
    contexts: Sequence[Context],
    corpus: Corpus,
    documents: SparseVectors,
    encoder: SparseStudent,
    student: SparseStudent | None,
) -> tuple[Comparison, list[Example]]:
    """Runs, judgements and comparison in the run folder, and questions to show.

    The teacher has a row where every test context has a rewrite, the student where there is one. Latency is measured of
    what will be served: the student, or the gate.
    """
    bed = TestBed(contexts, {"": documents})
    gate = gated(resolve(recipe.model), encoder.settings)
    gate.screen = recipe.screen
    with open_index(recipe.out / "index") as index:
        retriever = Retriever(student or gate, index, corpus)
        latency = one_by_one(lambda c: retriever.retrieve(c.conversation, 10), bed.contexts)
    asked = [(c.id, c.conversation.question) for c in bed.contexts]
    systems = [
        SystemResult("bm25_last", bm25(corpus, asked, DEPTH)),
        bed.measure("last_turn", last_turn(encoder)),
        bed.measure("full_context", conversation(encoder)),
        bed.measure(BASELINE, conversation(gate), latency=None if student else latency),
    ]
    if all(any(c.rewrites.get(teacher) for teacher, weight in method.writers.items() if weight) for c in bed.contexts):
        systems.append(_teacher(bed, recipe, method, encoder, gate))
    encoders = {BASELINE: gate}
    if student is not None:
        systems.append(bed.measure("student", conversation(student), latency=latency))
        encoders = {"student": student, **encoders}
    seed = recipe.train_settings().seed
    compared = compare(systems, bed.qrels, bed.depth, bed.group, BASELINE, corpus=bed.corpus, seed=seed)
    write_qrels(recipe.out / "runs" / "qrels.txt", bed.qrels)
    for system in systems:
        run = {query: dict(scores) for query, scores in system.run.items()}
        write_run(recipe.out / "runs" / f"{system.name}.trec", run, tag=system.name)
    write_text(recipe.out / "comparison.json", compared.to_json() + "\n")
    return compared, examples(bed.contexts, systems, corpus, encoders)


def _teacher(
    bed: TestBed, recipe: SparseRecipe, method: Method, encoder: SparseStudent, gate: SparseStudent
) -> SystemResult:
    """The fused teacher by its vectors; of a fusion that no vector has, the mean."""
    note = "reads the rewrite"
    if method.fusion in ("max", "min"):
        note += f"; their mean, as no vector has the {method.fusion}"
    elif method.fusion == "fitted":
        note += "; equal weights, as none are fitted yet"
        method = method.model_copy(update={"fusion": "linear"})

    def queries(contexts: Sequence[Context]) -> CSR:
        return fused_teacher(encoder, contexts, method, recipe.out / "rewrites", start=gate).vectors

    return bed.measure("teacher", queries, note=note)
