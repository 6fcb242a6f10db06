"""Looking at labels before anybody learns from them; one check a file, thresholds in `limits`."""

from distillir.labels.audit.agreement import check_score_agreement, check_text_agreement
from distillir.labels.audit.cases import Case, cases
from distillir.labels.audit.copied import check_copied
from distillir.labels.audit.drift import check_drift
from distillir.labels.audit.duplicates import check_duplicates
from distillir.labels.audit.failures import check_failures
from distillir.labels.audit.gold import check_gold
from distillir.labels.audit.leak import check_leak
from distillir.labels.audit.length import check_length
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.listwise import check_listwise
from distillir.labels.audit.report import AuditReport, Check
from distillir.labels.audit.spread import check_spread, check_targets
from distillir.labels.audit.store import audit_rewrites, audit_scores, audit_store

__all__ = [
    "AuditReport",
    "Case",
    "Check",
    "Limits",
    "audit_rewrites",
    "audit_scores",
    "audit_store",
    "cases",
    "check_copied",
    "check_drift",
    "check_duplicates",
    "check_failures",
    "check_gold",
    "check_leak",
    "check_length",
    "check_listwise",
    "check_score_agreement",
    "check_spread",
    "check_targets",
    "check_text_agreement",
]
