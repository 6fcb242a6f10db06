"""The rewritten question in a model's reply."""

from __future__ import annotations

import re
from dataclasses import dataclass

from distillir.data import repair_rewrite
from distillir.labels.kinds import Status
from distillir.labels.parsing.reasons import join_reasons
from distillir.labels.parsing.wrapping import unwrap

PREAMBLE = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok|great)[!,.][^:\n?]{0,120}"
    r"|here(?:['’]s| is| are)\b[^:\n?]{0,120}|the (?:re-?written|standalone)\b[^:\n?]{0,60}):\s*(?=\S)",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"(?:(?:i['’]?m|i am) (?:really |very )?(?:sorry|unable|not able|afraid)|sorry\b|my apologies|i apologi[sz]e"
    r"|i (?:can(?:not|['’]t| not)|could(?: not|n['’]t)|won['’]t|will not|do(?: not|n['’]t) (?:have|know|understand))"
    r"|as an? (?:ai|language model|assistant)\b|there is no (?:previous |earlier )?(?:conversation|context|question)"
    r"|no (?:conversation|context|question) (?:was|is|has been) (?:given|provided))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ParsedRewrite:
    """`value` is None exactly when `status` is "malformed"; `reason` says how it was repaired or why it is no use."""

    value: str | None
    status: Status
    reason: str = ""


def parse_rewrite(reply: str, *, finish: str = "stop", question: str = "") -> ParsedRewrite:
    """Take the rewritten question out of a reply, or nothing: no guess is made.

    Thoughts, a code fence, a preamble ("Sure! Here is the rewritten question:"), a label ("Rewritten question:"),
    quotation marks and all lines after the first are taken off. A reply that was cut off, holds nothing, or refuses
    (in English) is malformed. A refusal has no question mark and does not open as the question does, so "I cannot log
    in" may stay what the user says.

    Args:
        reply: any text.
        finish: why the model stopped; all but "stop" is a cut.
        question: the open question, if known.
    """
    if finish != "stop":
        return ParsedRewrite(None, "malformed", f"cut off ({finish})")
    text, taken = unwrap(reply)
    opening = question.strip().lower()[:8]
    said_so = bool(opening) and text.lower().startswith(opening)
    if REFUSAL.match(text) and "?" not in text and not said_so:
        return ParsedRewrite(None, "malformed", "refusal")
    preamble = None if said_so else PREAMBLE.match(text)
    bare = text[preamble.end() :] if preamble else text
    if preamble:
        taken.append("preamble")
    repair = repair_rewrite(bare)
    if repair.rewrite is None:
        return ParsedRewrite(None, "malformed", "empty")
    lines = [line.strip() for line in bare.splitlines() if line.strip()]
    if lines[0] != repair.rewrite:
        taken.append("label or quotes")
    if len(lines) > 1 + next(i for i, line in enumerate(lines) if repair.rewrite in line):
        taken.append("later lines")
    return ParsedRewrite(repair.rewrite, "repaired" if taken else "ok", join_reasons(taken))
