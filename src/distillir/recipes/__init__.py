"""Recipes: one typed function and one YAML each, composed from the floors below."""

from distillir.recipes.alone import encode_alone, evaluate_alone, index_alone
from distillir.recipes.method import Method, preset, presets
from distillir.recipes.opening import open_retriever
from distillir.recipes.recipe import SparseRecipe, read_recipe
from distillir.recipes.sparse import SparseRun, run_sparse
from distillir.recipes.starter import write_recipe

__all__ = [
    "Method",
    "SparseRecipe",
    "SparseRun",
    "encode_alone",
    "evaluate_alone",
    "index_alone",
    "open_retriever",
    "preset",
    "presets",
    "read_recipe",
    "run_sparse",
    "write_recipe",
]
