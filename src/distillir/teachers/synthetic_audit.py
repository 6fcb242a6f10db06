"""The audit of synthetic conversations: which of their turns can be learnt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distillir.labels.audit import AuditReport, Check
from distillir.labels.audit.duplicates import near_duplicates
from distillir.labels.audit.report import percent, quantiles, share
from distillir.labels.words import words
from distillir.teachers.grounding import GroundingLimits, grounded_share, longest_run

Finds = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""Questions → of each, document ids, best first."""

LEAST_SHARE = 0.5


def audit_synthetic(
    conversations: Mapping[str, Mapping[str, Any]],
    passages: Mapping[str, str],
    asked: int,
    limits: GroundingLimits | None = None,
    finds: Finds | None = None,
    subject: str = "synthetic",
) -> AuditReport:
    """Grounding, copied sentences, near-duplicates, and whether a question finds its own passage.

    The last check, "passes", holds the share of the turns asked for that pass all of them; it flags the others, which
    are to be left out of a training.

    Args:
        conversations: conversation id → value of its label.
        passages: document id → text.
        asked: turns that were wanted: conversations times turns.
        limits: thresholds.
        finds: a search over the passages; None leaves that check out.
        subject: whose labels.
    """
    limits = limits or GroundingLimits()
    names, rewrites, answers, documents, going, put = _columns(conversations)
    texts = [passages[document] for document in documents]
    shares = [grounded_share(answer, text) for answer, text in zip(answers, texts, strict=True)]
    runs = [longest_run(words(asked_), words(text)) for asked_, text in zip(rewrites, texts, strict=True)]
    loose = [name for name, value in zip(names, shares, strict=True) if value < limits.grounded]
    copied = [name for name, run in zip(names, runs, strict=True) if run >= limits.copied]
    later = [j for i, j in near_duplicates(rewrites, limits.likeness) if documents[i] != documents[j]]
    again = [j for i, j in _repeats(documents)]
    twins = [names[j] for j in sorted({*later, *again})]
    n = len(names)
    checks = [
        Check("grounding", subject, n, _grounding(shares, loose), flagged=tuple(loose)),
        Check("copied sentences", subject, n, {"copied": share(len(copied), n)}, flagged=tuple(copied)),
        Check("near-duplicates", subject, n, {"twins": share(len(twins), n)}, flagged=tuple(twins)),
        _follow_ups(subject, names, rewrites, going, put),
    ]
    lost: list[str] = []
    if finds is not None and n:
        ranked = finds(rewrites)
        pairs = zip(names, documents, ranked, strict=True)
        lost = [name for name, document, found in pairs if document not in list(found)[: limits.depth]]
        found_first = sum(list(found)[:1] == [own] for own, found in zip(documents, ranked, strict=True))
        figures = {"found": 1 - share(len(lost), n), "first": share(found_first, n)}
        checks.append(Check("finds its passage", subject, n, figures, flagged=tuple(lost)))
    failing = {*loose, *copied, *twins, *lost}
    passing = share(n - len(failing), asked)
    warnings = []
    if passing < LEAST_SHARE:
        warnings.append(
            f"{percent(passing)} of the {asked} turns pass → take a larger model, longer passages, or other examples"
        )
    figures = {"asked": float(asked), "kept": float(n), "passing": float(n - len(failing)), "share": passing}
    flagged = tuple(name for name in names if name in failing)
    return AuditReport((*checks, Check("passes", subject, n, figures, tuple(warnings), flagged=flagged)))


def _columns(conversations: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], ...]:
    """Name, rewrite, answer, document, whether it goes on, and question as put, of every turn."""
    rows = [
        (f"{group}#{k + 1}", rewrite, messages[2 * k + 1]["content"], document, goes_on, messages[2 * k]["content"])
        for group, value in conversations.items()
        for messages in [value["messages"]]
        for k, (rewrite, document, goes_on) in enumerate(
            zip(value["rewrites"], value["documents"], value["goes_on"], strict=True)
        )
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 6
    return tuple(list(column) for column in columns)


def _repeats(documents: Sequence[str]) -> list[tuple[int, int]]:
    """(First, later) turn over one passage: the same question, asked in several conversations."""
    first: dict[str, int] = {}
    return [(first[name], i) for i, name in enumerate(documents) if first.setdefault(name, i) != i]


def _grounding(shares: Sequence[float], loose: Sequence[str]) -> dict[str, float]:
    return quantiles(shares, median=0.5, p5=0.05) | {"loose": share(len(loose), len(shares))}


def _follow_ups(
    subject: str, names: Sequence[str], rewrites: Sequence[str], going: Sequence[Any], put: Sequence[str]
) -> Check:
    """How far follow-ups differ from their self-contained form; one that does not teaches nothing of conversations."""
    follow = [i for i in range(len(names)) if going[i]]
    same = [names[i] for i in follow if words(put[i]) == words(rewrites[i])]
    figures = {"follow_ups": share(len(follow), len(names)), "unchanged": share(len(same), len(follow))}
    lengths = [len(words(put[i])) / max(1, len(words(rewrites[i]))) for i in follow]
    examples = tuple(f"{put[i]} ← {rewrites[i]}" for i in follow[:3])
    return Check("follow-ups", subject, len(follow), figures | quantiles(lengths, ratio_median=0.5), examples=examples)
