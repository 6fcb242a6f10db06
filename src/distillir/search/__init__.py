"""From a conversation to documents."""

from distillir.search.dense import DenseRetriever
from distillir.search.rerank import PairScorer, rerank_run
from distillir.search.retriever import Hit, QueryEncoder, Retriever

__all__ = ["DenseRetriever", "Hit", "PairScorer", "QueryEncoder", "Retriever", "rerank_run"]
