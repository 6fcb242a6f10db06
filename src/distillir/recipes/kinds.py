"""The kinds of recipes, told apart by the `student` a file names: how each is read and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillir.errors import ConfigError
from distillir.recipes.dense import run_dense
from distillir.recipes.dense_recipe import DenseRecipe, read_dense_recipe
from distillir.recipes.generative import run_generative
from distillir.recipes.generative_recipe import GenerativeRecipe, read_generative_recipe
from distillir.recipes.recipe import SparseRecipe, options_in, read_recipe
from distillir.recipes.rerank import run_rerank
from distillir.recipes.rerank_recipe import RerankRecipe, read_rerank_recipe
from distillir.recipes.response import run_response
from distillir.recipes.response_recipe import ResponseRecipe, read_response_recipe
from distillir.recipes.sparse import run_sparse


@dataclass(frozen=True)
class RecipeKind:
    """A kind of recipe.

    Attributes:
        name: what the file says as its `student`; a sparse recipe says nothing.
        recipe: class of the recipe.
        read: reads and checks a file. run: runs what was read.
        asks: command that asks a finished run something; "" = none.
    """

    name: str
    recipe: type[Any]
    read: Callable[[str | Path], Any]
    run: Callable[..., Any]
    asks: str


SPARSE = RecipeKind("sparse", SparseRecipe, read_recipe, run_sparse, "search")
KINDS = {
    "dense": RecipeKind("dense", DenseRecipe, read_dense_recipe, run_dense, "search"),
    "generative": RecipeKind("generative", GenerativeRecipe, read_generative_recipe, run_generative, "search"),
    "reranker": RecipeKind("reranker", RerankRecipe, read_rerank_recipe, run_rerank, ""),
    "response": RecipeKind("response", ResponseRecipe, read_response_recipe, run_response, "respond"),
}


def kind_of(path: str | Path) -> RecipeKind:
    """The kind of a recipe file.

    Raises:
        ConfigError: unreadable, no recipe, or of a student that there is not.
    """
    named = options_in(path).get("student")
    if named is None:
        return SPARSE
    if named not in KINDS:
        raise ConfigError(f"{path}: student: {named!r}", f"use {', '.join(KINDS)}, or leave it out for a sparse one")
    return KINDS[named]
