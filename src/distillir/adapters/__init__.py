"""Retrievers for other frameworks, in place of their "condense the question" steps.

`adapters.langchain`, `adapters.llamaindex` and `adapters.haystack` need those packages. `RemoteRetriever`
needs none: it asks a service.
"""

from distillir.adapters.remote import RemoteRetriever

__all__ = ["RemoteRetriever"]
