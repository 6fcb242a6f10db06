"""What of a text or a conversation a model is shown."""

from __future__ import annotations

import re

from distillir.conversation import Conversation
from distillir.teachers.requests import Message

WORD_LENGTH = 8  # characters: scripts without blanks are cut by these


def cut_words(text: str, most: int) -> str:
    """The first words of a text on one line; "…" marks a cut."""
    words = text.split()
    line = " ".join(words[:most])
    cut = line[: WORD_LENGTH * most]
    return f"{cut.rstrip()} …" if len(words) > most or len(cut) < len(line) else line


def history_lines(conversation: Conversation, exchanges: int, words: int) -> str:
    """The last exchanges as "User: …" and "Assistant: …" lines, each cut to some words."""
    lines = []
    for question, answer in conversation.exchanges[-exchanges:] if exchanges else ():
        lines += [f"User: {cut_words(question, words)}"] if question.strip() else []
        lines += [f"Assistant: {cut_words(answer, words)}"] if answer.strip() else []
    return "\n".join(lines)


def turns_of(conversation: Conversation, exchanges: int, words: int) -> tuple[Message, ...]:
    """The last exchanges and the open question as a chat whose speakers take turns."""
    turns: list[Message] = []
    for asked, said in conversation.exchanges[-exchanges:] if exchanges else ():
        turns += [Message("user", cut_words(asked, words)), Message("assistant", cut_words(said, words))]
    turns.append(Message("user", cut_words(conversation.question, words)))
    joined: list[Message] = []
    for turn in turns:
        if not turn.content:
            continue
        if joined and joined[-1].role == turn.role:
            joined[-1] = Message(turn.role, f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    return tuple(joined)


def without_marks(text: str) -> str:
    """A text whose "[3]" cannot be taken for the mark of a passage."""
    return re.sub(r"\[(\d+)\]", r"(\1)", text)
