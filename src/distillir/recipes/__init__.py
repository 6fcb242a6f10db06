"""Recipes: one typed function and one YAML each, composed from the floors below."""

from distillir.recipes.ablation import run_ablation
from distillir.recipes.ablation_plan import read_factors
from distillir.recipes.alone import encode_alone, evaluate_alone, index_alone
from distillir.recipes.check import RecipeCheck, check_recipe
from distillir.recipes.dense import DenseRun, open_dense_retriever, run_dense
from distillir.recipes.dense_recipe import DenseRecipe, is_dense, read_dense_recipe
from distillir.recipes.generative import GenerativeRun, run_generative
from distillir.recipes.generative_open import index_for, open_generative_retriever
from distillir.recipes.generative_recipe import (
    GenerativeMethod,
    GenerativeRecipe,
    is_generative,
    read_generative_recipe,
)
from distillir.recipes.kinds import RecipeKind, kind_of
from distillir.recipes.method import Method, preset, presets
from distillir.recipes.migrating import migrate_run
from distillir.recipes.opening import open_any, open_retriever
from distillir.recipes.published_figures import Figure, Published, published, read_published
from distillir.recipes.recipe import SparseRecipe, read_recipe
from distillir.recipes.reproduction import Reproduction, plan_reproduction, reproduce
from distillir.recipes.rerank import RerankRun, run_rerank
from distillir.recipes.rerank_recipe import RerankMethod, RerankRecipe, read_rerank_recipe
from distillir.recipes.response import ResponseRun, open_response_retriever, run_response
from distillir.recipes.response_recipe import ResponseMethod, ResponseRecipe, read_response_recipe
from distillir.recipes.sparse import SparseRun, run_sparse
from distillir.recipes.starter import write_recipe

__all__ = [
    "DenseRecipe",
    "DenseRun",
    "Figure",
    "GenerativeMethod",
    "GenerativeRecipe",
    "GenerativeRun",
    "Method",
    "Published",
    "RecipeCheck",
    "RecipeKind",
    "Reproduction",
    "RerankMethod",
    "RerankRecipe",
    "RerankRun",
    "ResponseMethod",
    "ResponseRecipe",
    "ResponseRun",
    "SparseRecipe",
    "SparseRun",
    "check_recipe",
    "encode_alone",
    "evaluate_alone",
    "index_alone",
    "index_for",
    "is_dense",
    "is_generative",
    "kind_of",
    "migrate_run",
    "open_any",
    "open_dense_retriever",
    "open_generative_retriever",
    "open_response_retriever",
    "open_retriever",
    "plan_reproduction",
    "preset",
    "presets",
    "published",
    "read_dense_recipe",
    "read_factors",
    "read_generative_recipe",
    "read_published",
    "read_recipe",
    "read_rerank_recipe",
    "read_response_recipe",
    "reproduce",
    "run_ablation",
    "run_dense",
    "run_generative",
    "run_rerank",
    "run_response",
    "run_sparse",
    "write_recipe",
]
