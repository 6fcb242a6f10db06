"""From a conversation to documents."""

from distillir.search.retriever import Hit, QueryEncoder, Retriever

__all__ = ["Hit", "QueryEncoder", "Retriever"]
