"""OpenSearch and Elasticsearch: sparse queries as their JSON, vectors as their bulk files, and what pruning costs.

Nothing here talks to a server or loads a model: a query is a mapping of terms to weights, documents are
`SparseVectors` with the names of their dimensions.
"""

from distillir.engines import elasticsearch, opensearch
from distillir.engines.bulk import BulkRow, bulk_rows
from distillir.engines.elasticsearch import TokenPruning
from distillir.engines.export import HTTP_LIMIT, Exported, write_bulk
from distillir.engines.features import Terms, dimension_names, feature_name, stored, stored_rows, term_of
from distillir.engines.loss import Loss, LossTable, document_loss, query_loss
from distillir.engines.pruning import prune_rows, prune_terms
from distillir.engines.request import Engine, Form
from distillir.errors import ConfigError
from distillir.vectors.two_phase import TwoPhase

ENGINES = {engine.name: engine for engine in (opensearch.ENGINE, elasticsearch.ENGINE)}


def engine_named(name: str) -> Engine:
    """An engine by name.

    Raises:
        ConfigError: it is none of `ENGINES`.
    """
    if name not in ENGINES:
        raise ConfigError(f"no engine is called {name!r}", f"choose one of {', '.join(ENGINES)}")
    return ENGINES[name]


__all__ = [
    "ENGINES",
    "HTTP_LIMIT",
    "BulkRow",
    "Engine",
    "Exported",
    "Form",
    "Loss",
    "LossTable",
    "Terms",
    "TokenPruning",
    "TwoPhase",
    "bulk_rows",
    "dimension_names",
    "document_loss",
    "elasticsearch",
    "engine_named",
    "feature_name",
    "opensearch",
    "prune_rows",
    "prune_terms",
    "query_loss",
    "stored",
    "stored_rows",
    "term_of",
    "write_bulk",
]
