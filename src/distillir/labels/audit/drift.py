"""Language drift: a rewrite in another script or language than the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from distillir.labels.audit.cases import Case
from distillir.labels.audit.language import language, script
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, share


def drift(question: str, asked: Sequence[str], rewrite: str) -> str:
    """Name the move ("THAI → LATIN", "de → en") of a rewrite that left the user's script or language.

    "" where it did not, or one of the two is unclear. Earlier questions speak for a question too short to tell.
    """
    theirs, ours = script(question) or script(" ".join(asked)), script(rewrite)
    if theirs and ours and theirs != ours:
        return f"{theirs} → {ours}"
    spoken, written = language(question) or language(" ".join([*asked, question])), language(rewrite)
    return f"{spoken} → {written}" if spoken and written and spoken != written else ""


def check_drift(cases: Sequence[Case], subject: str, limits: Limits) -> Check:
    """Rewrites that left the conversation's language."""
    moves = [(case, move) for case in cases if (move := drift(case.question, case.asked, case.rewrite))]
    figures = {"drifted": share(len(moves), len(cases))}
    warnings = []
    if figures["drifted"] > limits.drift_share:
        (common, _), *_ = Counter(move for _, move in moves).most_common(1)
        warnings.append(
            f"{percent(figures['drifted'])} of the rewrites changed the language (most: {common}) → ask for the "
            "user's language in the prompt, or write the prompt in it"
        )
    examples = tuple(f"[{move}] {case.rewrite}" for case, move in moves[:3])
    return Check(
        "language", subject, len(cases), figures, tuple(warnings), examples, tuple(case.id for case, _ in moves)
    )
