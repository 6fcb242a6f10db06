"""Reading what a model wrote about a passage, and whether the passage bears it out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from distillir.labels import Label
from distillir.labels.audit.drift import drift
from distillir.labels.audit.leak import is_statement
from distillir.labels.parsing import join_reasons, parse_rewrite
from distillir.labels.parsing.wrapping import unwrap
from distillir.labels.words import words

PART = re.compile(r"^[\s*#>\-\d.)]*(question|answer)\b\s*\**\s*[:：]\s*\**\s*", re.IGNORECASE | re.MULTILINE)
SENTENCE = re.compile(r"[\s\S]*[.!?…。！？]['\"”’)]?(?=\s|$)")
SOURCE = re.compile(
    r"\b(?:the|this|that|given|above|provided) (?:passage|text|document|article|paragraph|excerpt|snippet)\b", re.I
)
LONG = 4  # letters from which a word carries content


@dataclass(frozen=True)
class GroundingLimits:
    """Where a synthetic turn is refused.

    Attributes:
        grounded: least share of the answer's content words that the passage has.
        copied: a question that repeats so many words of the passage in a row is a copied sentence.
        words: least number of words of a question.
        novel: most share of a follow-up's content words that neither chat nor question has.
        longer: words by which a follow-up may exceed its question.
        likeness: two questions are near-duplicates from this Jaccard similarity of character 4-grams on.
        depth: the passage must be among the first so many that its question finds.
    """

    grounded: float = 0.6
    copied: int = 8
    words: int = 3
    novel: float = 0.5
    longer: int = 3
    likeness: float = 0.8
    depth: int = 10


def read_pair(reply: str, finish: str, passage: str, limits: GroundingLimits) -> Label:
    """The question and the answer in a reply, malformed where a check refuses them."""
    text, taken = unwrap(reply)
    question, answer = split_pair(text)
    if finish != "stop":
        match = SENTENCE.match(answer)
        answer, taken = match[0] if match else "", [*taken, "cut off"]
    why = refuse_pair(question, answer, passage, limits)
    if why:
        return Label("conversation", None, reply, "malformed", reason=join_reasons([why, *taken]))
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    status = "repaired" if taken else "ok"
    return Label("conversation", {"messages": messages}, reply, status, reason=join_reasons(taken))  # type: ignore[arg-type]


def split_pair(text: str) -> tuple[str, str]:
    """What stands behind the first "Question:" and the first "Answer:" after it, each on one line; "" if nothing."""
    marks = list(PART.finditer(text))
    found = {"question": "", "answer": ""}
    for i, mark in enumerate(marks):
        end = marks[i + 1].start() if i + 1 < len(marks) else len(text)
        part = mark[1].lower()
        ready = part == "question" or found["question"]
        if ready and not found[part]:
            found[part] = " ".join(text[mark.end() : end].replace("**", "").split())
    return found["question"], found["answer"]


def refuse_pair(question: str, answer: str, passage: str, limits: GroundingLimits) -> str:
    """Why a question with its answer is not one about this passage; "" if nothing speaks against it."""
    if not question or not answer:
        return "no question" if not question else "no answer"
    if is_statement("?", question) or len(words(question)) < limits.words:
        return "not a question"
    if SOURCE.search(question):
        return "speaks of the passage"
    if not content(question) & set(words(passage)):
        return "about something else"
    if longest_run(words(question), words(passage)) >= limits.copied:
        return "copied sentence"
    if grounded_share(answer, passage) < limits.grounded:
        return "answer not in the passage"
    return "another language" if drift(passage, (), question) else ""


def read_follow_up(reply: str, finish: str, question: str, chat: Sequence[str], limits: GroundingLimits) -> Label:
    """The message in a reply, or the question as it stands: repaired, with "fallback" and why.

    Args:
        reply, finish: of the model.
        question: self-contained.
        chat: messages before, as texts.
        limits: of the checks.
    """
    parsed = parse_rewrite(reply, finish=finish, question=question)
    why = parsed.reason if parsed.value is None else _refuse_follow_up(parsed.value, question, chat, limits)
    if parsed.value is None or why:
        return Label("response", question, reply, "repaired", reason=join_reasons(["fallback", why]))
    return Label("response", parsed.value, reply, parsed.status, reason=parsed.reason)


def _refuse_follow_up(text: str, question: str, chat: Sequence[str], limits: GroundingLimits) -> str:
    if len(words(text)) > len(words(question)) + limits.longer:
        return "too long"
    if is_statement(question, text):
        return "not a question"
    if words(text) in [words(said) for said in chat]:
        return "repeats the chat"
    said = {word for part in (question, *chat) for word in words(part)}
    own = content(text)
    if own and len(own - said) > limits.novel * len(own):
        return "asks for something else"
    return "another language" if drift(question, (), text) else ""


def content(text: str) -> set[str]:
    """Words that carry content: long ones and numbers."""
    return {word for word in words(text) if len(word) >= LONG or word.isdigit()}


def grounded_share(answer: str, passage: str) -> float:
    """Share of the answer's content words (of all its words, where it has none) that the passage has."""
    said, known = content(answer) or set(words(answer)), set(words(passage))
    return len(said & known) / len(said) if said else 0.0


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest run of words that two texts have in common."""
    best, row = 0, [0] * (len(other) + 1)
    for word in one:
        row = [0, *(row[j] + 1 if word == said else 0 for j, said in enumerate(other))]
        best = max(best, *row)
    return best
