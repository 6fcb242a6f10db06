"""From a conversation to documents."""

from distillir.search.dense import DenseRetriever
from distillir.search.retriever import Hit, QueryEncoder, Retriever

__all__ = ["DenseRetriever", "Hit", "QueryEncoder", "Retriever"]
