"""Rewrite length: words, and the ratio to the question's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillir.labels.audit.cases import Case
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, quantiles, share
from distillir.labels.words import words


def check_length(cases: Sequence[Case], subject: str, limits: Limits) -> Check:
    """Rewrites that run on, or that lost half of the question."""
    lengths = np.array([[len(words(case.question)), len(words(case.rewrite))] for case in cases]).reshape(-1, 2)
    asked, written = np.maximum(lengths[:, 0], 1), lengths[:, 1]
    too_long = (written > limits.long_words) & (written > limits.long_ratio * asked)
    too_short = written < limits.short_ratio * asked
    figures: dict[str, float] = quantiles(written.tolist(), words_median=0.5, words_p95=0.95)
    figures |= quantiles((written / asked).tolist(), ratio_median=0.5, ratio_p95=0.95)
    figures |= {
        "too_long": share(int(too_long.sum()), len(cases)),
        "too_short": share(int(too_short.sum()), len(cases)),
    }
    warnings = []
    if figures["too_long"] > limits.length_share:
        warnings.append(
            f"{percent(figures['too_long'])} of the rewrites run on (above {limits.long_words} words and "
            f"{limits.long_ratio:g} times the question) → ask for the question alone, lower the token limit"
        )
    if figures["too_short"] > limits.length_share:
        warnings.append(
            f"{percent(figures['too_short'])} of the rewrites have less than {percent(limits.short_ratio)} of the "
            "question's words → ask to keep everything the user said"
        )
    odd = [case for case, is_odd in zip(cases, too_long | too_short, strict=True) if is_odd]
    examples, flagged = tuple(case.rewrite for case in odd[:3]), tuple(case.id for case in odd)
    return Check("length", subject, len(cases), figures, tuple(warnings), examples, flagged)
