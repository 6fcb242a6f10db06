"""The audit of labels before a training: what is odd about them is said before hours are spent on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distillir.labels import FittedWeights
from distillir.labels.audit import AuditReport, audit_rewrites, audit_scores
from distillir.recipes.fit import Labelled
from distillir.recipes.method import Method
from distillir.recipes.progress import Stages


def audited(labelled: Labelled, method: Method, out: Path, stages: Stages) -> AuditReport:
    """Audit rewrites and, for a method that draws from rankings, the teacher's scores; saved in the run folder."""
    rewrites = {
        teacher: {c.id: c.rewrites[teacher] for c in labelled.contexts if c.rewrites.get(teacher)}
        for teacher in method.writers
    }
    report = audit_rewrites(labelled.contexts, rewrites)
    if labelled.pool is not None:
        rankings = [labelled.pool[c.id] for c in labelled.contexts]
        golds = [np.isin(r.positions, gold) for r, gold in zip(rankings, labelled.golds, strict=True)]
        tau = method.objective.get("kld", {}).get("tau", 1.0)
        at = float(tau) if isinstance(tau, int | float) else 1.0  # a τ by entropy suits each context by itself
        report += audit_scores({"teacher": [r.scores for r in rankings]}, golds, tau=at)
    if labelled.fused.fit is not None:
        stages.say(_fit_in_words(labelled.fused.fit))
    report.save(out)
    for warning in report.warnings:
        stages.say(f"audit: {warning}")
    stages.say(f"audit of labels: {len(report.checks)} checks, {len(report.warnings)} warnings, in {out / 'audit.txt'}")
    return report


def _fit_in_words(fit: FittedWeights) -> str:
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in fit.weights.items())
    return f"weights fitted on {fit.contexts} contexts: {shares} (loss {fit.loss:.3f}, equal weights {fit.equal:.3f})"
