"""Stages of a recipe by themselves: encode, index, evaluate. None of them trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillir.encoding.shares import Shares
from distillir.errors import ConfigError
from distillir.evaluation import Comparison, write_report
from distillir.labels import LabelStore
from distillir.recipes.marks import file_digest
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.record import commit, versions
from distillir.recipes.sparse import TITLE
from distillir.recipes.stored import through_store
from distillir.recipes.tested import tested
from distillir.recipes.workshop import at_work
from distillir.students import SparseStudent
from distillir.students.checkpoint import is_student


def encode_alone(recipe: SparseRecipe, *, quiet: bool = False, shares: Shares | None = None) -> dict[str, int]:
    """Vectors of the corpus, and of the candidate corpus where one is named: name → documents.

    Args:
        recipe: `out` and `corpus` are needed.
        quiet: no progress display.
        shares: where documents are encoded, such as `encoding.OnRay()`; None = in this process.
    """
    with at_work(recipe, quiet=quiet, shares=shares) as shop:
        made = {"corpus": len(shop.documents[1])}
        if shop.candidates is not None:
            made["candidate_corpus"] = len(shop.candidates)
        return made


def index_alone(recipe: SparseRecipe, *, quiet: bool = False) -> int:
    """The index over the corpus, encoded first where needed: documents in it."""
    with at_work(recipe, quiet=quiet) as shop:
        shop.index()
        return len(shop.documents[1])


def evaluate_alone(recipe: SparseRecipe, *, quiet: bool = False) -> tuple[Comparison, Path]:
    """The table over the test contexts and the path of its report; the student has a row once it is trained.

    Raises:
        ConfigError: the recipe names no test contexts.
    """
    if recipe.test is None:
        raise ConfigError("test: the recipe names no test contexts", "name them under `test:`")
    with at_work(recipe, quiet=quiet) as shop:
        out, (corpus, documents) = recipe.out, shop.documents
        shop.counts()
        shop.index()
        folder, student = out / "student", None
        if is_student(folder):
            student = SparseStudent.from_pretrained(folder)
            student.screen = recipe.screen
        else:
            shop.stages.say(f"{out} holds no trained student: its row is left out")
        method = recipe.chosen_method()
        with LabelStore(recipe.labels or out / "labels.sqlite") as store:
            origin = f"{recipe.test.name} {file_digest(recipe.test)}"
            contexts = through_store(store, shop.contexts["test"], method.writers, origin)
        shop.stages.say("evaluate")
        record = _record(recipe)
        method = method.settled(record.get("teacher_weights", {}))
        comparison, shown = tested(recipe, method, contexts, corpus, documents, shop.encoder, student)
        return comparison, write_report(out / "report.html", comparison, record, TITLE, shown)


def _record(recipe: SparseRecipe) -> Mapping[str, Any]:
    """What the run recorded when it was trained, or what an untrained one can say."""
    kept = recipe.out / "run.json"
    if kept.is_file():
        record: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return record
    return {"commit": commit(), "versions": versions(), "settings": recipe.resolved()}
