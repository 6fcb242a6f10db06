"""Recipe `sparse`: from conversations to a distilled sparse retriever, searched and measured.

    corpus ─encode─▶ vectors ─┬─▶ teacher's rankings ─▶ training ─▶ student ─▶ run folder
    contexts ─▶ rewrite vectors ┘                                   index, runs, report

Every stage leaves its result in the run folder; run again, it goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillir.errors import ConfigError
from distillir.evaluation import Comparison, write_report
from distillir.labels import LabelStore
from distillir.recipes.audited import audited
from distillir.recipes.fit import Labelled, drawable, label
from distillir.recipes.marks import file_digest, write_text
from distillir.recipes.measure import TestBed
from distillir.recipes.method import UNTRAINED
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import run_record
from distillir.recipes.stages import joined, trained
from distillir.recipes.stored import through_store
from distillir.recipes.systems import gated
from distillir.recipes.tested import tested
from distillir.recipes.workshop import Workshop, at_work
from distillir.students import SparseStudent, resolve
from distillir.training import TrainResult
from distillir.vectors import SparseVectors

TITLE = "Conversational search"


@dataclass(frozen=True)
class SparseRun:
    """What a run made."""

    out: Path
    student: SparseStudent
    training: TrainResult
    comparison: Comparison | None
    report: Path | None


def run_sparse(recipe: SparseRecipe, *, quiet: bool = False) -> SparseRun:
    """Run the whole recipe.

    Args:
        recipe: what to do.
        quiet: no progress display.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts or documents that cannot be read or have nothing to say.
        VectorsError: another process works in the run folder.
    """
    for name in ("train", "dev"):
        if getattr(recipe, name) is None:
            raise ConfigError(
                f"{name}: the recipe names no {name} contexts", "name them, or use `distillir index` without training"
            )
    with at_work(recipe, quiet=quiet) as shop:
        out, (corpus, documents), counts = recipe.out, shop.documents, shop.counts()
        bed = TestBed(shop.contexts["dev"], {"": documents})
        method = recipe.chosen_method()
        with LabelStore(recipe.labels or out / "labels.sqlite") as store:
            labelled, candidates = _labelled(shop, store)
            if recipe.test is not None:
                judged = through_store(store, shop.contexts["test"], method.writers, _origin(recipe.test))
        student, result = trained(recipe, labelled, candidates, bed, shop.encoder, shop.stages)
        student.screen = recipe.screen
        shop.index()
        sources = {"corpus": recipe.corpus, "candidate_corpus": recipe.candidate_corpus or recipe.corpus}
        data: dict[str, Any] = {
            **{name: str(path) for name, path in sources.items()},
            "documents": len(documents),
            "candidates": len(candidates),
            "splits": counts,
        }
        record = run_record(recipe, student, labelled, result, data)
        write_text(out / "run.json", json.dumps(record, indent=2, default=str) + "\n")
        comparison = report = None
        if recipe.test is not None:
            shop.stages.say("evaluate")
            method = method.settled(labelled.fused.plan.weights)
            comparison, shown = tested(recipe, method, judged, corpus, documents, shop.encoder, student)
            report = write_report(out / "report.html", comparison, record, TITLE, shown)
    return SparseRun(out, student, result, comparison, report)


def _labelled(shop: Workshop, store: LabelStore) -> tuple[Labelled, SparseVectors]:
    """Training contexts with labels, and the documents they draw from."""
    recipe, stages, method = shop.recipe, shop.stages, shop.recipe.chosen_method()
    (_, documents), own = shop.documents, None
    if shop.candidates is not None:
        own = len(documents)
        documents = joined(documents, shop.candidates, recipe.out / "joined.vectors")
    stages.say("label")
    assert recipe.train is not None
    start = None
    if UNTRAINED in method.teachers:
        start = gated(resolve(recipe.model), shop.encoder.settings)
        start.screen = recipe.screen
    found = label(
        shop.contexts["train"],
        shop.encoder,
        documents,
        method,
        recipe.out / "rewrites",
        start=start,
        store=store,
        origin=_origin(recipe.train),
        own=own,
    )
    found = drawable(found, documents, method)
    for why, counts in found.dropped.items():
        stages.say(f"left out, {why}: " + ", ".join(f"{n} of {source}" for source, n in counts.items()))
    shares = ", ".join(f"{share:.0%} of {source}" for source, share in found.gold_share.items())
    stages.say(f"{len(found.contexts):,} contexts to learn from; with gold: {shares}")
    audited(found, method, recipe.out, stages)
    return found, documents


def _origin(path: Path) -> str:
    return f"{path.name} {file_digest(path)}"
