"""Rendering: order, budget, separators, escaping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir import Conversation
from distillir.errors import ConfigError
from distillir.rendering import CutReport, RenderSettings, escape, from_string, render, segment_types, to_string

CLS, SEP = 1, 2
SPECIALS = ["[CLS]", "[SEP]", "[PAD]"]


def tokenize(text: str) -> list[int]:
    """One token a word; ids from 10 on."""
    return [10 + sum(map(ord, word)) % 1000 for word in text.split()]


def words(n: int, word: str = "w") -> str:
    return " ".join([word] * n)


def rendered(conversation: Conversation, **options: object):
    return render(conversation, tokenize, cls_id=CLS, sep_id=SEP, settings=RenderSettings(**options))  # type: ignore[arg-type]


def test_newest_first_with_answers() -> None:
    out = rendered(Conversation.from_pairs([("q0", "a0"), ("q1", "a1")], "q2"))
    q0, a0, q1, a1, q2 = (tokenize(t)[0] for t in ("q0", "a0", "q1", "a1", "q2"))
    assert out.ids == [CLS, q2, SEP, a1, SEP, q1, SEP, a0, SEP, q0, SEP]
    assert out.types == [0, 0, 0, 2, 2, 1, 1, 2, 2, 1, 1]
    assert out.distances == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert out.cut == CutReport()
    assert not out.cut.anything


def test_without_answers() -> None:
    out = rendered(Conversation.from_pairs([("q0", "a0"), ("q1", "a1")], "q2"), answers=False)
    assert out.types == [0, 0, 0, 1, 1, 1, 1]
    assert out.distances == [0, 0, 0, 1, 1, 2, 2]


def test_a_first_turn_is_its_question() -> None:
    out = rendered(Conversation.from_pairs([], "who?"))
    assert out.ids == [CLS, *tokenize("who?"), SEP]
    assert set(out.types) == {0}


def test_empty_turns_write_both_separators() -> None:
    out = rendered(Conversation.from_pairs([("q0", "a0"), ("", "")], ""))
    assert out.ids == [CLS, SEP, SEP, SEP, *tokenize("a0"), SEP, *tokenize("q0"), SEP]
    assert out.types == [0, 0, 2, 1, 2, 2, 1, 1]


def test_share_shortens_long_turns_and_keeps_short_ones() -> None:
    out = rendered(Conversation.from_pairs([(words(3), words(100)), (words(3), words(100))], words(4)), max_length=50)
    assert len(out.ids) == 50
    # 50 − 2 specials − 4 question − 4 separators = 40; questions keep 3 each, answers share 34.
    ends = [i for i, token in enumerate(out.ids) if token == SEP]
    assert [b - a - 1 for a, b in zip([0, *ends], ends, strict=False)] == [4, 17, 3, 17, 3]
    assert out.cut == CutReport(turn_tokens_cut=166, turns_shortened=2)


def test_share_drops_the_oldest_when_turns_would_be_crumbs() -> None:
    pairs = [(words(20), words(20))] * 10
    out = rendered(Conversation.from_pairs(pairs, words(4)), max_length=60, min_turn_tokens=8)
    assert out.cut.exchanges_dropped == 7
    assert max(out.distances) == 3
    assert len(out.ids) == 60


def test_newest_first_lets_the_oldest_fall_off_as_published() -> None:
    out = rendered(
        Conversation.from_pairs([(words(5), words(5)), (words(5), words(9))], words(4)),
        max_length=24,
        budget="newest_first",
    )
    ends = [i for i, token in enumerate(out.ids) if token == SEP]
    assert [b - a - 1 for a, b in zip([0, *ends], ends, strict=False)] == [4, 9, 5, 0, 0]
    assert len(out.ids) == 24


def test_one_giant_question_is_cut_and_reported() -> None:
    out = rendered(Conversation.from_pairs([("a", "b")], words(1000)), max_length=32)
    assert len(out.ids) == 32
    assert set(out.types) == {0}
    assert out.cut == CutReport(question_tokens_cut=970, exchanges_dropped=1)


def test_a_thousand_turns() -> None:
    out = rendered(Conversation.from_pairs([("question here", "answer here")] * 500, "now what"))
    assert len(out.ids) <= 256
    assert out.cut.exchanges_dropped > 400


def test_types_are_a_function_of_the_ids_of_a_batch() -> None:
    ids = np.array([[CLS, 9, SEP, 8, SEP, 7, SEP], [CLS, 9, SEP, SEP, SEP, 0, 0]])
    types, distances = segment_types(ids, SEP, answers=True)
    assert types.tolist() == [[0, 0, 0, 2, 2, 1, 1], [0, 0, 0, 2, 1, 2, 2]]
    assert distances[0].tolist() == [0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("bad", [{"max_length": 3}, {"budget": "middle"}, {"min_turn_tokens": 0}])
def test_contradictory_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RenderSettings(**bad)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet="[]SEPCLD x", max_size=40))
def test_escaping_leaves_no_special_token(text: str) -> None:
    out = escape(text, SPECIALS)
    assert not any(special in out for special in SPECIALS)
    assert out.replace(" ", "") == text.replace(" ", "")


text = st.text(alphabet="ab [SEP]é漢🙂\n", max_size=30)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(text, text), max_size=4), text, st.booleans())
def test_the_rendered_string_gives_the_same_tokens(pairs: list[tuple[str, str]], question: str, answers: bool) -> None:
    conversation = Conversation.from_pairs(pairs, question)
    string = to_string(conversation, sep="[SEP]", specials=SPECIALS, answers=answers)

    def safe(content: str) -> list[int]:
        return tokenize(escape(content, SPECIALS))

    def run(c: Conversation) -> list[int]:
        return render(c, safe, cls_id=CLS, sep_id=SEP, settings=RenderSettings(answers=answers)).ids

    assert run(from_string(string, sep="[SEP]", answers=answers)) == run(conversation)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12),
    st.integers(0, 80),
    st.integers(4, 120),
    st.sampled_from(["share", "newest_first"]),
)
def test_never_longer_than_the_budget(pairs: list[tuple[int, int]], asked: int, length: int, budget: str) -> None:
    conversation = Conversation.from_pairs([(words(q), words(a)) for q, a in pairs], words(asked))
    out = rendered(conversation, max_length=length, budget=budget)
    assert len(out.ids) <= length
    assert len(out.ids) == len(out.types) == len(out.distances)
    total = 2 + asked + sum(q + a + 2 for q, a in pairs)
    if total <= length:
        assert not out.cut.anything
    kept = len(out.ids) - 2 - 2 * (len(pairs) - out.cut.exchanges_dropped)
    dropped = sum(q + a for q, a in pairs[: out.cut.exchanges_dropped])
    assert kept + out.cut.question_tokens_cut + out.cut.turn_tokens_cut + dropped == total - 2 - 2 * len(pairs)
