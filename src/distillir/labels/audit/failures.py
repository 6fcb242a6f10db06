"""Malformed and repaired replies, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, share
from distillir.labels.parsing import count_reasons
from distillir.labels.records import Label


def check_failures(labels: Sequence[Label], subject: str, limits: Limits) -> Check:
    """Shares of malformed and repaired labels; how many labels give each reason."""
    statuses = Counter(label.status for label in labels)
    reasons = Counter(word for label in labels for word in count_reasons(label.reason))
    figures: dict[str, float] = {name: share(statuses[name], len(labels)) for name in ("ok", "repaired", "malformed")}
    figures["attempts_a_label"] = share(sum(label.attempts for label in labels), len(labels))
    figures |= {f"reason: {word}": number for word, number in reasons.most_common(12)}
    warnings = []
    bad = Counter(word for one in labels if one.status == "malformed" for word in count_reasons(one.reason))
    (cause, _), *_ = [*bad.most_common(1), ("no reason given", 0)]
    if figures["malformed"] > limits.malformed_share:
        warnings.append(
            f"{percent(figures['malformed'])} of the replies are no use (most: {cause}) → raise the token limit for "
            "cut ones, show the format in the prompt for others"
        )
    if figures["repaired"] > limits.repaired_share:
        warnings.append(
            f"{percent(figures['repaired'])} of the replies had to be repaired → show the exact format in the prompt"
        )
    examples = tuple(f"[{one.reason}] {one.raw}" for one in labels if one.status == "malformed")[:3]
    return Check("replies", subject, len(labels), figures, tuple(warnings), examples)
