"""From a conversation to documents, or to a response."""

from distillir.search.dense import DenseRetriever
from distillir.search.generative import GenerativeRetriever
from distillir.search.rerank import PairScorer, rerank_run
from distillir.search.responses import ResponseRetriever
from distillir.search.retriever import Hit, QueryEncoder, Retriever

__all__ = [
    "DenseRetriever",
    "GenerativeRetriever",
    "Hit",
    "PairScorer",
    "QueryEncoder",
    "ResponseRetriever",
    "Retriever",
    "rerank_run",
]
