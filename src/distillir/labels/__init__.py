"""What teachers said: requests, labels, the store that keeps them, their way in and out, and their fusion.

Two rooms of their own: `labels.parsing` makes labels of replies, `labels.audit` looks at labels before they are used.
"""

from distillir.labels.accounts import LabelGroup, overview
from distillir.labels.bundle import Exported, export_bundle
from distillir.labels.confidence import likelihood_confidence, text_agreement, vector_agreement
from distillir.labels.estimate import Estimate, Price, count_tokens, estimate
from distillir.labels.fusion import FusionPlan, fuse_linear, fuse_max, fuse_min, fuse_scores, mean_weights
from distillir.labels.imports import import_llm_rewrites, import_rewrites
from distillir.labels.kinds import Kind, Status
from distillir.labels.merge import MergeReport, import_bundle, merge
from distillir.labels.records import (
    Label,
    LabelRequest,
    StoredLabel,
    TeacherSummary,
    canonical_json,
    prompt_version,
)
from distillir.labels.shards import ShardWriter, shard_keys
from distillir.labels.store import Conflict, LabelStore
from distillir.labels.weights import FittedWeights, fit_by_fold, fit_weights

__all__ = [
    "Conflict",
    "Estimate",
    "Exported",
    "FittedWeights",
    "FusionPlan",
    "Kind",
    "Label",
    "LabelGroup",
    "LabelRequest",
    "LabelStore",
    "MergeReport",
    "Price",
    "ShardWriter",
    "Status",
    "StoredLabel",
    "TeacherSummary",
    "canonical_json",
    "count_tokens",
    "estimate",
    "export_bundle",
    "fit_by_fold",
    "fit_weights",
    "fuse_linear",
    "fuse_max",
    "fuse_min",
    "fuse_scores",
    "import_bundle",
    "import_llm_rewrites",
    "import_rewrites",
    "likelihood_confidence",
    "mean_weights",
    "merge",
    "overview",
    "prompt_version",
    "shard_keys",
    "text_agreement",
    "vector_agreement",
]
