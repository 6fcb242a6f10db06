"""Copied share: how much of a rewrite comes from the question, from the history, or from nowhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillir.labels.audit.cases import Case
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, share
from distillir.labels.words import words


def copied_shares(question: str, history: Sequence[str], rewrite: str) -> tuple[float, float, float]:
    """Shares of a rewrite's words that the question has, that only the history has, that neither has; 1 in all.

    A rewrite without words is all of the question's.
    """
    own, past = set(words(question)), {word for text in history for word in words(text)}
    written = words(rewrite)
    if not written:
        return 1.0, 0.0, 0.0
    from_question = sum(word in own for word in written)
    from_history = sum(word in past and word not in own for word in written)
    n = len(written)
    return from_question / n, from_history / n, (n - from_question - from_history) / n


def check_copied(cases: Sequence[Case], subject: str, limits: Limits) -> Check:
    """Follow-ups left as they were, earlier questions repeated, words out of nowhere."""
    if not cases:
        return Check("copied", subject, 0)
    shares = np.array([copied_shares(c.question, c.asked + c.said, c.rewrite) for c in cases]).mean(axis=0)
    unchanged = [case for case in cases if words(case.rewrite) == words(case.question)]
    stale = [
        case
        for case in cases
        if words(case.rewrite) != words(case.question) and words(case.rewrite) in [words(text) for text in case.asked]
    ]
    names = ("from_question", "from_history", "novel")
    figures = {name: float(value) for name, value in zip(names, shares, strict=True)}
    figures |= {"unchanged": share(len(unchanged), len(cases)), "earlier_question": share(len(stale), len(cases))}
    warnings = []
    if figures["unchanged"] > limits.unchanged_share:
        warnings.append(
            f"{percent(figures['unchanged'])} of the follow-ups were repeated word for word → see whether the prompt "
            "shows the history, and whether the model can rewrite at all"
        )
    if figures["earlier_question"] > limits.stale_share:
        warnings.append(
            f"{percent(figures['earlier_question'])} of the rewrites repeat an earlier question → mark the last "
            "question in the prompt"
        )
    if figures["novel"] > limits.novel_share:
        warnings.append(
            f"{percent(figures['novel'])} of the words are neither in the question nor in the history → the model "
            "answers or makes things up: show more of the history, lower the temperature"
        )
    examples, flagged = tuple(case.rewrite for case in stale[:3]), tuple(case.id for case in stale)
    return Check("copied", subject, len(cases), figures, tuple(warnings), examples, flagged)
