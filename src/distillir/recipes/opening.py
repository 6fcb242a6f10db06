"""Retrievers of run folders: the trained student, or the untrained turn gate where nothing was trained."""

from __future__ import annotations

import json
from pathlib import Path

from distillir.data import Corpus
from distillir.errors import DataError
from distillir.index import open_index
from distillir.recipes.dense import open_dense_retriever
from distillir.recipes.dense_recipe import is_dense, read_dense_recipe
from distillir.recipes.generative_open import is_generative_folder, open_generative_retriever
from distillir.recipes.generative_recipe import is_generative, read_generative_recipe
from distillir.recipes.marks import mark_of
from distillir.recipes.recipe import SparseRecipe, read_recipe
from distillir.recipes.systems import gated, plain
from distillir.recipes.workshop import SAVED
from distillir.search import DenseRetriever, GenerativeRetriever, Retriever
from distillir.students import SparseStudent, resolve
from distillir.students.checkpoint import is_student

RECIPES = (".yaml", ".yml")


def open_retriever(source: str | Path) -> Retriever:
    """The retriever of a run folder, or of the run folder of a recipe file.

    Raises:
        DataError: no such folder, or a run that has no index yet.
    """
    source = Path(source)
    if _dense(source):
        raise DataError(source, "a dense run", cure="open it with open_dense_retriever or open_any")
    recipe = read_recipe(source) if source.suffix in RECIPES else None
    out = source if recipe is None else recipe.out
    if not mark_of(out, "index").is_file():
        raise DataError(
            out,
            "not a run folder with an index",
            cure="run `distillir index RECIPE`, `distillir train RECIPE` or `distillir quickstart`",
        )
    student = open_student(out)
    return Retriever(student, open_index(out / "index", dim=student.dim), Corpus.open(out / "corpus.arrow"))


def open_student(out: Path) -> SparseStudent:
    """What reads the questions of a run folder: the trained student, or the untrained turn gate.

    Raises:
        DataError: no run folder. ModelError: weights that cannot be loaded.
    """
    if is_student(out / "student"):
        return SparseStudent.from_pretrained(out / "student")
    recipe = saved_recipe(out)
    return gated(resolve(recipe.model), recipe.student_settings())


def open_encoder(out: Path) -> SparseStudent:
    """What encoded the documents of a run folder: the start checkpoint, without gate or turn embeddings.

    Raises:
        DataError: no run folder. ModelError: weights that cannot be loaded.
    """
    return plain(saved_recipe(out))


def saved_recipe(out: Path) -> SparseRecipe:
    """The resolved recipe that a run folder keeps.

    Raises:
        DataError: there is none.
    """
    path = out / SAVED
    try:
        return SparseRecipe.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(path, "no recipe of a sparse run", cure="name a run folder") from error


def open_any(source: str | Path) -> Retriever | DenseRetriever | GenerativeRetriever:
    """The retriever of a run, sparse, dense or generative; see `open_retriever` and its kin."""
    source = Path(source)
    if source.suffix in RECIPES and is_generative(source):
        return open_generative_retriever(read_generative_recipe(source).out)
    if is_generative_folder(source):
        return open_generative_retriever(source)
    if not _dense(source):
        return open_retriever(source)
    return open_dense_retriever(read_dense_recipe(source).out if source.suffix in RECIPES else source)


def _dense(source: Path) -> bool:
    if source.suffix in RECIPES:
        return is_dense(source)
    saved = source / SAVED
    return saved.is_file() and json.loads(saved.read_text(encoding="utf-8")).get("student") == "dense"
