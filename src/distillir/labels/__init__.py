"""What teachers said: requests, labels, the store that keeps them, and their fusion."""

from distillir.labels.fusion import FusionPlan, fuse_linear, fuse_max, fuse_min, mean_weights
from distillir.labels.imports import import_llm_rewrites, import_rewrites
from distillir.labels.records import (
    Kind,
    Label,
    LabelRequest,
    Status,
    StoredLabel,
    TeacherSummary,
    canonical_json,
    prompt_version,
)
from distillir.labels.store import LabelStore

__all__ = [
    "FusionPlan",
    "Kind",
    "Label",
    "LabelRequest",
    "LabelStore",
    "Status",
    "StoredLabel",
    "TeacherSummary",
    "canonical_json",
    "fuse_linear",
    "fuse_max",
    "fuse_min",
    "import_llm_rewrites",
    "import_rewrites",
    "mean_weights",
    "prompt_version",
]
