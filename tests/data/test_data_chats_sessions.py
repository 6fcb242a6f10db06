"""Turns of a session: order, repeats, silences, names, splits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.data.chats import Roles, check_turns, parse_split
from distillir.data.chats.chat import Chat, Logged
from distillir.data.chats.contexts import Names, contexts_of, part_name, split_of
from distillir.data.chats.sessions import Message, messages_of, split_at_gaps
from distillir.data.chats.tally import Tally
from distillir.errors import ConfigError


def turns(*logged):
    tally = Tally()
    return messages_of(Chat([Logged(*row) for row in logged]), Roles(), tally), tally


def at(*times):
    return [Message("user", str(i), time) for i, time in enumerate(times)]


def parts(gap, *times):
    return [[int(message.text) for message in part] for part in split_at_gaps(at(*times), gap)]


def test_a_silence_of_exactly_the_gap_does_not_split():
    assert parts(1800, 0, 1800, 3600) == [[0, 1, 2]]
    assert parts(1800, 0, 1800.001, 3600) == [[0], [1, 2]]
    assert parts(None, 0, 10**9) == [[0, 1]]
    assert parts(1800) == []


def test_messages_without_a_time_split_nothing_and_hide_no_silence():
    assert parts(10, None, None) == [[0, 1]]
    assert parts(10, 0, None, 5) == [[0, 1, 2]]
    assert parts(10, 0, None, 11) == [[0, 1], [2]]
    assert parts(10, None, 100, 120) == [[0, 1], [2]]


def test_rows_are_sorted_by_time_and_equal_times_stay_as_logged():
    found, tally = turns(("user", "c", 3), ("user", "a", 1), ("bot", "b", 1), ("user", "d", 3), ("user", "e", 2))
    assert [message.text for message in found] == ["a", "b", "e", "c", "d"]
    assert tally.messages.noted["out of order"] == 3


def test_a_row_without_a_time_goes_with_the_row_before_it():
    found, tally = turns(("user", "c", 3), ("bot", "reply to c", None), ("user", "a", 1), ("bot", "reply to a", None))
    assert [message.text for message in found] == ["a", "reply to a", "c", "reply to c"]
    assert tally.messages.noted["out of order"] == 2


def test_repeats():
    found, tally = turns(("user", "a", 1), ("bot", "b", 2), ("user", "a", 1), ("user", "a", 3), ("bot", "a", 3))
    assert [(m.role, m.text, m.time) for m in found] == [
        ("user", "a", 1), ("assistant", "b", 2), ("user", "a", 3), ("assistant", "a", 3)]  # fmt: skip
    assert tally.messages.dropped == {"repeated": 1}
    found, tally = turns(("user", "yes"), ("user", "yes"), ("bot", "ok"), ("user", "yes"))
    assert [message.text for message in found] == ["yes", "ok", "yes"]
    assert tally.messages.dropped == {"repeated": 1}


@pytest.mark.parametrize(
    ("word", "role"),
    [("User", "user"), ("HUMAN", "user"), (" customer ", "user"), ("gpt", "assistant"), ("AI", "assistant")],
)
def test_words_for_speakers(word, role):
    assert [m.role for m in turns((word, "x"))[0]] == [role]


def test_words_for_speakers_can_be_added_and_changed():
    roles = Roles(user=frozenset({"in", "agent"}), assistant=frozenset({"out"}))
    assert [roles.speaker(word) for word in ("IN", "out", "agent", "human", "tool", "x")] == [
        "user", "assistant", "user", "user", "", None]  # fmt: skip


def test_unknown_roles_are_told_unless_the_import_is_private():
    _, tally = turns(("Anna", "x"), ("Anna", "y"), ("", "z"))
    assert tally.unknown_roles == {"Anna": 2, "": 1}
    private = Tally(private=True)
    messages_of(Chat([Logged("Anna", "x")]), Roles(), private)
    assert private.unknown_roles == {}
    assert private.messages.dropped == {"unknown role": 1}


TALK = [("user", "a"), ("assistant", "b"), ("user", "c"), ("user", "d"), ("assistant", "e")]


@pytest.mark.parametrize(
    ("which", "expected"), [("all", ["s#1", "s#2", "s#3"]), ("last", ["s#3"]), ("follow-ups", ["s#2", "s#3"])]
)
def test_a_context_for_each_question(which, expected):
    contexts = list(contexts_of("s", [Message(*said, None) for said in TALK], which))
    assert [context.id for context in contexts] == expected
    for context in contexts:
        assert context.group == "s"
        assert f"s#{context.conversation.depth}" == context.id
        assert [(t.role, t.content) for t in context.conversation.turns] == TALK[: len(context.conversation.turns)]
    assert contexts[-1].conversation.question == "d"


def test_names_have_no_blanks_and_are_given_once():
    names = Names()
    given = [names.give(label) for label in ("a b", "a%20b", "a\u00a0b", "s~2", "s", "s", "s.2", "s", "\n", "ü#1")]
    assert given == ["a%20b", "a%2520b", "a%C2%A0b", "s%7E2", "s", "s.2", "s.2.2", "s.3", "%0A", "ü#1"]
    assert [part_name("s", part) for part in (1, 2)] == ["s", "s~2"]


def test_a_split_is_decided_by_the_session_alone():
    shares = (0.8, 0.1, 0.1)
    chosen = {f"s{i}": split_of(f"s{i}", shares, 13) for i in range(4000)}
    sizes = [list(chosen.values()).count(name) / 4000 for name in ("train", "dev", "test")]
    assert sizes == pytest.approx(shares, abs=0.02)
    # Another hash would move the sessions of every log that is imported again.
    assert [split_of(f"s{i}", shares, 13) for i in range(5)] == ["train", "test", "test", "train", "train"]
    assert any(split_of(name, shares, 14) != split for name, split in chosen.items())
    assert {split_of(name, (0.0, 0.0, 1.0), 13) for name in chosen} == {"test"}
    # A session that was in train stays there when train grows.
    assert all(split_of(name, (0.9, 0.05, 0.05), 13) == "train" for name, split in chosen.items() if split == "train")


@settings(max_examples=50, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.integers(0, 5),
    st.sampled_from([(1.0, 0, 0), (0, 1.0, 0), (0.3, 0.3, 0.4)]),
)
def test_a_split_never_gives_a_part_without_a_share(session, seed, shares):
    assert dict(zip(("train", "dev", "test"), shares, strict=True))[split_of(session, shares, seed)] > 0


def test_options_in_words():
    assert parse_split("0.8, .1,0.1") == (0.8, 0.1, 0.1)
    for wrong in ("0.8,0.2", "0.8,0.1,0.2", "a,b,c", "1.2,-0.1,-0.1", "nan,0,1", ""):
        with pytest.raises(ConfigError, match=r"0\.8,0\.1,0\.1"):
            parse_split(wrong)
    assert check_turns("last") == "last"
    with pytest.raises(ConfigError, match="follow-ups"):
        check_turns("first")
