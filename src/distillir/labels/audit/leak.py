"""Answers in rewrites: words of the coming answer that nobody had said yet, statements where a question was asked."""

from __future__ import annotations

from collections.abc import Sequence

from distillir.labels.audit.cases import Case
from distillir.labels.audit.limits import Limits
from distillir.labels.audit.report import Check, percent, share
from distillir.labels.words import words

LONG = 4  # letters from which a word carries content
OPENINGS = """
who whom whose what which when where why how is are was were am do does did has have had can could will would should
shall may might must tell explain describe list show give name find compare define
"""
ASKING = frozenset(OPENINGS.split())


def leaked_words(case: Case) -> list[str]:
    """Content words of a rewrite that the coming answer has and that neither question nor history had, in order."""
    known = {word for text in (case.question, *case.asked, *case.said) for word in words(text)}
    coming = set(words(case.answer))
    return [
        word for word in dict.fromkeys(words(case.rewrite)) if _content(word) and word in coming and word not in known
    ]


def is_statement(question: str, rewrite: str) -> bool:
    """Whether the user asked (a question mark, or an English opening) and the rewrite does not."""
    return _asks(question) and not _asks(rewrite)


def check_leak(cases: Sequence[Case], subject: str, limits: Limits) -> Check:
    """Rewrites that know the answer, or answer."""
    known = [case for case in cases if case.answer]
    leaking = []
    for case in known:
        leaked, content = leaked_words(case), {word for word in words(case.rewrite) if _content(word)}
        if len(leaked) >= limits.leak_words and len(leaked) >= limits.leak_part * len(content):
            leaking.append(case)
    stating = [case for case in cases if is_statement(case.question, case.rewrite)]
    figures = {
        "answer_known": len(known),
        "leaking": share(len(leaking), len(known)),
        "statements": share(len(stating), len(cases)),
    }
    warnings = []
    if figures["leaking"] > limits.leak_share:
        warnings.append(
            f"{percent(figures['leaking'])} of the rewrites hold words of an answer that was not given yet → the "
            "student learns to know what it cannot: forbid answering in the prompt, drop these labels"
        )
    if figures["statements"] > limits.statement_share:
        warnings.append(
            f"{percent(figures['statements'])} of the rewrites state something where the user asked → add 'do not "
            "answer' and an example to the prompt, or take a larger model"
        )
    odd = {case.id: case.rewrite for case in stating + leaking}
    return Check("answers", subject, len(cases), figures, tuple(warnings), tuple(odd.values())[:3], tuple(odd))


def _content(word: str) -> bool:
    return len(word) >= LONG or word.isdigit()


def _asks(text: str) -> bool:
    return any(mark in text for mark in "?？؟") or (words(text) or [""])[0] in ASKING
