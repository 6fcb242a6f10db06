"""Listwise replies: missing, repeated and invented ids, and orders that were left as they were shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, share
from distillir.labels.parsing import count_reasons
from distillir.labels.records import Label

FAULTS = ("missing", "repeated", "invented")


def check_listwise(
    labels: Mapping[str, Label], subject: str, limits: Limits, shown: Mapping[str, Sequence[str]] | None = None
) -> Check:
    """Faults of a teacher's orders, as their repairs noted them.

    Args:
        labels: context (or request) -> order.
        subject: whose.
        limits: thresholds.
        shown: the same keys -> documents in the order they were shown; ids are checked against it.
    """
    totals: Counter[str] = Counter()
    faulty: Counter[str] = Counter()
    any_fault = untouched = compared = 0
    for name, label in labels.items():
        found = Counter({fault: count_reasons(label.reason)[fault] for fault in FAULTS})
        listed = (shown or {}).get(name)
        if listed is not None and label.value is not None:
            compared += 1
            untouched += list(label.value) == list(listed)
            found["missing"] = max(found["missing"], len(set(listed) - set(label.value)))
            found["invented"] = max(found["invented"], len(set(label.value) - set(listed)))
        found = +found
        totals += found
        faulty.update(found.keys())
        any_fault += bool(found)
    figures: dict[str, float] = {f"with_{fault}": share(faulty[fault], len(labels)) for fault in FAULTS}
    figures |= {f"{fault}_ids": totals[fault] for fault in FAULTS}
    if compared:
        figures["as_shown"] = share(untouched, compared)
    warnings = []
    if share(any_fault, len(labels)) > limits.order_faults_share:
        warnings.append(
            f"{percent(share(any_fault, len(labels)))} of the orders had missing, repeated or invented ids → rank "
            "fewer documents a call (window), allow more tokens, or take a larger model"
        )
    if compared and figures["as_shown"] > limits.untouched_share:
        warnings.append(
            f"{percent(figures['as_shown'])} of the orders are as shown → the model may not rank at all: shuffle the "
            "documents and ask again"
        )
    return Check("order", subject, len(labels), figures, tuple(warnings))
