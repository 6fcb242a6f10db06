"""The audit of a whole label store: every check that its labels, and what is known of the contexts, allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from distillir.data import Context
from distillir.labels.audit.agreement import check_score_agreement, check_text_agreement
from distillir.labels.audit.cases import cases
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
from distillir.labels.reader import LabelReader
from distillir.labels.records import Label, StoredLabel

REWRITE_CHECKS = (check_length, check_copied, check_drift, check_leak, check_duplicates)


def audit_rewrites(
    contexts: Iterable[Context], rewrites: Mapping[str, Mapping[str, str]], limits: Limits | None = None
) -> AuditReport:
    """Checks of rewrites: length, copied share, language, answers, near-duplicates, agreement between teachers.

    Args:
        contexts: of the rewrites; later turns of a conversation tell the answers to earlier ones. First turns are
            left out, as they are their own rewrites.
        rewrites: teacher -> context id -> rewrite.
        limits: thresholds.
    """
    limits, every = limits or Limits(), list(contexts)
    found = {teacher: cases(every, texts) for teacher, texts in rewrites.items()}
    checks = [check(of, teacher, limits) for teacher, of in found.items() if of for check in REWRITE_CHECKS]
    follow_ups = {teacher: {case.id: case.rewrite for case in of} for teacher, of in found.items()}
    return AuditReport((*checks, *check_text_agreement(follow_ups, limits)))


def audit_scores(
    scores: Mapping[str, Sequence[np.ndarray]],
    golds: Sequence[np.ndarray] | None = None,
    limits: Limits | None = None,
    *,
    tau: float = 1.0,
) -> AuditReport:
    """Checks of score arrays: spread and τ, flat and one-hot targets, gold rank, agreement between teachers.

    Args:
        scores: teacher -> one (N_i,) array a context, over the same candidates for all teachers.
        golds: (N_i,) which candidates are relevant, one array a context.
        limits: thresholds.
        tau: of the training.
    """
    limits, checks = limits or Limits(), []
    for teacher, lists in scores.items():
        checks += [check_spread(lists, teacher, limits), check_targets(lists, teacher, limits, tau)]
        checks += [] if golds is None else [check_gold(lists, golds, teacher, limits)]
    return AuditReport((*checks, *check_score_agreement(scores, limits)))


def audit_store(
    store: LabelReader,
    contexts: Iterable[Context] = (),
    limits: Limits | None = None,
    *,
    teachers: Sequence[str] | None = None,
    tau: float = 1.0,
) -> AuditReport:
    """Every check that a store allows: replies of all teachers, orders, scores; rewrites where contexts are given.

    Args:
        store: to audit.
        contexts: what labels are about: conversations for rewrites, `relevant` for the gold rank.
        limits: thresholds.
        teachers: only these.
        tau: of the training, for flat and one-hot targets.
    """
    limits = limits or Limits()
    known = {context.id: context for context in contexts}
    rows: dict[tuple[str, str], list[StoredLabel]] = {}
    for row in store.rows():
        if teachers is None or row.teacher in teachers:
            rows.setdefault((row.teacher, row.label.kind), []).append(row)
    checks: list[Check] = []
    for (teacher, kind), found in rows.items():
        subject = f"{teacher} ({kind})"
        checks.append(check_failures([row.label for row in found], subject, limits))
        latest = _latest(store, teacher, found)
        if kind == "order":
            checks.append(check_listwise(latest, subject, limits))
            checks += _gold(_ranked(latest), known, subject, limits)
        if kind == "scores":
            checks += _scored(latest, known, subject, limits, tau)
    rewrites = {
        teacher: {name: str(label.value) for name, label in _latest(store, teacher, found).items() if label.value}
        for (teacher, kind), found in rows.items()
        if kind == "rewrite"
    }
    report = AuditReport(tuple(checks))
    return report + audit_rewrites(known.values(), rewrites, limits) if known else report


def _latest(store: LabelReader, teacher: str, rows: Sequence[StoredLabel]) -> dict[str, Label]:
    """Context -> the label that counts for it (of the first sample); labels without a context under their key."""
    firsts = {row.key: row.label for row in rows if row.sample_index == 0}
    bare = {row.key: row.label for row in rows if not row.context_ids and row.sample_index == 0}
    return bare | {context: firsts[key] for context, key in store.uses(teacher) if key in firsts}


def _ranked(latest: Mapping[str, Label]) -> dict[str, dict[str, float]]:
    """Orders as scores: minus the rank."""
    orders = {name: label.value for name, label in latest.items() if label.value is not None}
    return {name: {document: -float(rank) for rank, document in enumerate(order)} for name, order in orders.items()}


def _scored(
    latest: Mapping[str, Label], known: Mapping[str, Context], subject: str, limits: Limits, tau: float
) -> list[Check]:
    usable: dict[str, Any] = {name: label.value for name, label in latest.items() if label.value is not None}
    lists = [np.array(list(value.values()), np.float64) for value in usable.values()]
    scale = "" if any(label.scale == "" for name, label in latest.items() if name in usable) else None
    spread, targets = check_spread(lists, subject, limits, scale), check_targets(lists, subject, limits, tau)
    return [spread, targets, *_gold(usable, known, subject, limits)]


def _gold(
    scores: Mapping[str, Mapping[str, float]], known: Mapping[str, Context], subject: str, limits: Limits
) -> list[Check]:
    """The gold rank where contexts have relevant documents."""
    judged = [(value, known[name].relevant) for name, value in scores.items() if name in known and known[name].relevant]
    lists = [np.array(list(value.values()), np.float64) for value, _ in judged]
    golds = [np.array([document in relevant for document in value], bool) for value, relevant in judged]
    return [check_gold(lists, golds, subject, limits)] if judged else []
