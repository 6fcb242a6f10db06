"""What models put around an answer: thoughts and code fences."""

from __future__ import annotations

import re

OPENED = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
CLOSED = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
FENCE = "```"


def unwrap(text: str) -> tuple[str, list[str]]:
    """The answer without thoughts and fence, and what was taken off.

    All up to the last closing mark is thought: some servers cut the opening one. A thought that was never closed
    leaves what stood before it.
    """
    taken: list[str] = []
    answer = text
    for closed in CLOSED.finditer(text):
        answer = text[closed.end() :]
    opened = OPENED.search(answer)
    if opened:
        answer = answer[: opened.start()]
    if answer != text:
        taken.append("thoughts")
    start = answer.find(FENCE)
    end = answer.find(FENCE, start + 3)
    if start >= 0 and end >= 0:
        first, _, rest = answer[start + 3 : end].partition("\n")
        inside = rest if rest.strip() else first  # the first line of a block names its language
        if inside.strip():
            return inside.strip(), [*taken, "code fence"]
    return answer.strip(), taken
