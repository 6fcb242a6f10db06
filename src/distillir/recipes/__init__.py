"""Recipes: one typed function and one YAML each, composed from the floors below."""

from distillir.recipes.method import Method, preset, presets
from distillir.recipes.recipe import SparseRecipe, read_recipe
from distillir.recipes.sparse import SparseRun, open_retriever, run_sparse

__all__ = [
    "Method",
    "SparseRecipe",
    "SparseRun",
    "open_retriever",
    "preset",
    "presets",
    "read_recipe",
    "run_sparse",
]
