"""Evaluation: measures, turn depth, significance, efficiency and an HTML report. Loads no model library."""

from distillir.evaluation.abstention import RiskCoverage, risk_coverage
from distillir.evaluation.compare import SystemResult, compare
from distillir.evaluation.comparison import Cell, Comparison, DepthPoint, Facts
from distillir.evaluation.efficiency import (
    CorpusFlops,
    Latency,
    active_dims,
    flops_at_corpus,
    flops_over_corpora,
    flops_per_query,
    measure_latency,
    postings_touched,
)
from distillir.evaluation.examples import Example, Hit, SystemExample
from distillir.evaluation.groups import DEFAULT_EDGES, bucket_index, bucket_labels
from distillir.evaluation.measures import DEFAULT_MEASURES, PerQuery, Qrels, Run, evaluate, measure_key
from distillir.evaluation.report import RECORD_FIELDS, render_report, write_report
from distillir.evaluation.responses import distinct, hits_among, mean_length
from distillir.evaluation.significance import (
    RESAMPLES,
    Intervals,
    bootstrap_intervals,
    clusters,
    holm,
    sign_flip_test,
)

__all__ = [
    "DEFAULT_EDGES",
    "DEFAULT_MEASURES",
    "RECORD_FIELDS",
    "RESAMPLES",
    "Cell",
    "Comparison",
    "CorpusFlops",
    "DepthPoint",
    "Example",
    "Facts",
    "Hit",
    "Intervals",
    "Latency",
    "PerQuery",
    "Qrels",
    "RiskCoverage",
    "Run",
    "SystemExample",
    "SystemResult",
    "active_dims",
    "bootstrap_intervals",
    "bucket_index",
    "bucket_labels",
    "clusters",
    "compare",
    "distinct",
    "evaluate",
    "flops_at_corpus",
    "flops_over_corpora",
    "flops_per_query",
    "hits_among",
    "holm",
    "mean_length",
    "measure_key",
    "measure_latency",
    "postings_touched",
    "render_report",
    "risk_coverage",
    "sign_flip_test",
    "write_report",
]
