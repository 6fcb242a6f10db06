"""Recipes: one typed function and one YAML each, composed from the floors below."""

from distillir.recipes.method import Method, preset, presets
from distillir.recipes.sparse import SparseRecipe, SparseRun, open_retriever, read_recipe, run_sparse

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
