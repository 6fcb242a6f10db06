"""Conversations are read from messages and pairs, and refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir import Conversation
from distillir.conversation import Exchange
from distillir.errors import ConversationError


def test_messages_become_exchanges_and_an_open_question() -> None:
    conversation = Conversation.from_messages(
        [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "who wrote Dune?"},
            {"role": "assistant", "content": "Frank Herbert."},
            {"role": "user", "content": "when?"},
        ]
    )
    assert conversation.exchanges == (Exchange("who wrote Dune?", "Frank Herbert."),)
    assert conversation.question == "when?"
    assert conversation.depth == 2


def test_pairs_and_messages_are_the_same_conversation() -> None:
    pairs = Conversation.from_pairs([("a?", "b."), ("c?", "")], "d?")
    assert Conversation.from_messages(pairs.messages()) == pairs


def test_greeting_unanswered_questions_and_split_answers() -> None:
    conversation = Conversation.from_messages(
        [
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "one?"},
            {"role": "user", "content": "two?"},
            {"role": "assistant", "content": "yes"},
            {"role": "assistant", "content": "indeed"},
            {"role": "user", "content": "three?"},
        ]
    )
    assert conversation.exchanges == (Exchange("", "Hello!"), Exchange("one?", ""), Exchange("two?", "yes\nindeed"))
    assert conversation.depth == 3


def test_content_parts_and_tool_calls() -> None:
    conversation = Conversation.from_messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None},
            {"role": "tool", "content": "42"},
            {"role": "user", "content": "and?"},
        ]
    )
    assert conversation.exchanges == (Exchange("look", ""),)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "is empty"),
        ([{"role": "system", "content": "x"}], "is empty"),
        ([{"role": "robot", "content": "x"}], "unknown role 'robot'"),
        ([{"content": "x"}], "unknown role None"),
        ([{"role": "user"}], "message 0 (user) has no text"),
        ([{"role": "user", "content": 3}], "content is int"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "ends with the assistant's turn"),
        (["x"], "message 0 is str"),
    ],
)
def test_unreadable_messages_are_refused_with_cause_and_cure(messages: list[object], reason: str) -> None:
    with pytest.raises(ConversationError) as error:
        Conversation.from_messages(messages)  # type: ignore[arg-type]
    assert reason in error.value.cause
    assert error.value.cure


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.text())
def test_any_text_survives_the_round_trip(pairs: list[tuple[str, str]], question: str) -> None:
    conversation = Conversation.from_pairs(pairs, question)
    assert [tuple(exchange) for exchange in conversation.exchanges] == pairs
    assert conversation.question == question
