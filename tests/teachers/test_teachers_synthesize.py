"""Synthesize: questions from passages, follow-ups from questions, and what of it passes."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_model import Table

from distillir.data import Document, read_contexts, write_contexts
from distillir.errors import ConfigError, DataError
from distillir.labels import LabelStore
from distillir.teachers import Failure
from distillir.teachers.grounding import (
    GroundingLimits,
    grounded_share,
    longest_run,
    read_follow_up,
    read_pair,
    split_pair,
)
from distillir.teachers.passages import Passages, walk, walks
from distillir.teachers.synthesize import Synthesize, SynthesizeSettings, synthetic_contexts
from distillir.teachers.synthetic_audit import audit_synthetic
from distillir.teachers.teacher import estimate_teacher, teach, teach_async

CARD = "Library cards are free for residents of the district, who bring an identity card. Visitors pay 12 euros a year."
LIMITS = GroundingLimits()


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def animals(number=12):
    names = ["otter", "falcon", "salmon", "beetle", "horse", "whale"]
    names += ["parrot", "tiger", "badger", "lizard", "rabbit", "spider"]
    return [
        Document(
            f"d{i}", f"The {name} sleeps {i + 3} hours a day near water and forest, where it also eats. " * 2, name
        )
        for i, name in enumerate(names[:number])
    ]


# Reading


@pytest.mark.parametrize(
    "reply",
    [
        "Question: How much is a card for visitors?\nAnswer: Visitors pay 12 euros a year.",
        "**Question:** How much is a card for visitors?\n\n**Answer:** Visitors pay\n12 euros a year.",
        "1. Question: How much is a card for visitors?\n2. Answer: Visitors pay 12 euros a year.\nQuestion: And you?",
        "```\nquestion: How much is a card for visitors?\nanswer: Visitors pay 12 euros a year.\n```",
    ],
)
def test_a_pair_is_read_out_of_what_models_write(reply):
    label = read_pair(reply, "stop", CARD, LIMITS)
    assert [message["content"] for message in label.value["messages"]] == [
        "How much is a card for visitors?", "Visitors pay 12 euros a year."
    ]  # fmt: skip
    assert label.raw == reply


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("It is free.", "no question"),
        ("Question: How much is a card?", "no answer"),
        ("Answer: 12 euros.\nQuestion: How much is a card?", "no answer"),
        ("Question: Library cards are free.\nAnswer: Yes.", "not a question"),
        ("Question: Cost?\nAnswer: 12 euros.", "not a question"),
        ("Question: What does the passage say of cards?\nAnswer: They are free.", "speaks of the passage"),
        ("Question: How tall is Mount Everest?\nAnswer: Visitors pay.", "about something else"),
        ("Question: Are free for residents of the district, who bring an identity card?\nAnswer: Residents.",
         "copied sentence"),
        ("Question: How much is a card for visitors?\nAnswer: Ninety dollars every month, payable beforehand.",
         "answer not in the passage"),
        ("Question: Wie teuer ist die Karte für visitors, und wo ist sie?\nAnswer: Visitors pay 12 euros.",
         "another language"),
    ],
)  # fmt: skip
def test_a_pair_that_its_passage_does_not_bear_out_is_malformed(reply, why):
    label = read_pair(reply, "stop", CARD, LIMITS)
    assert (label.value, label.status, label.reason) == (None, "malformed", why)


def test_a_cut_answer_ends_with_its_last_sentence():
    label = read_pair(
        "Question: How much is a card for visitors?\nAnswer: Visitors pay. And the", "length", CARD, LIMITS
    )
    assert label.value["messages"][1]["content"] == "Visitors pay."
    assert (label.status, label.reason) == ("repaired", "cut off")
    cut = read_pair("Question: How much is a card for visitors?\nAnswer: Visitors p", "length", CARD, LIMITS)
    assert cut.reason == "no answer; cut off"


@pytest.mark.parametrize(
    ("reply", "text", "reason"),
    [
        ("And for visitors?", "And for visitors?", ""),
        ("Message: and for visitors?", "Message: and for visitors?", ""),
        ('"And for visitors?"', "And for visitors?", "label or quotes"),
        ("", None, "fallback; empty"),
        ("Visitors pay 12 euros.", None, "fallback; not a question"),
        ("How much is a card for the people who are visitors and not residents there?", None, "fallback; too long"),
        ("What is the opening time tomorrow?", None, "fallback; asks for something else"),
        ("Who gets a card for free?", None, "fallback; repeats the chat"),
    ],
)
def test_a_follow_up_asks_for_the_same_or_falls_back(reply, text, reason):
    question = "How much is a card for visitors?"
    chat = ["Who gets a card for free?", "Residents."]
    label = read_follow_up(reply, "stop", question, chat, LIMITS)
    assert (label.value, label.reason) == (text or question, reason)
    assert label.status == ("ok" if not reason else "repaired")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text):
    question, answer = split_pair(text)
    assert bool(answer) <= bool(question)
    assert read_pair(text, "stop", CARD, LIMITS).kind == "conversation"
    assert read_follow_up(text, "stop", "How much?", ["a"], LIMITS).value


def test_shares_and_runs_by_hand():
    assert grounded_share("Visitors pay 12 dollars", CARD) == pytest.approx(2 / 3)  # visitors, 12; not dollars
    assert grounded_share("", CARD) == 0.0
    assert longest_run(["a", "b", "c", "d"], ["x", "b", "c", "y", "a", "b"]) == 2
    assert longest_run([], ["a"]) == 0


# Walking


def test_near_passages_are_those_beside_in_a_group_else_those_of_like_words():
    texts = {
        "a": "cats purr and cats sleep",
        "b": "cats purr at night",
        "c": "stocks fell",
        "d": "stocks rose and fell",
    }
    passages = Passages([Document(name, text) for name, text in texts.items()], least_words=2)
    assert passages.near("a")[0] == "b"
    assert passages.near("c")[0] == "d"
    pages = Passages(
        [Document(f"p{i}", "a page of words", group="g" if i < 3 else "") for i in range(5)], least_words=2
    )
    assert pages.near("p0") == ["p1", "p2"]
    assert set(pages.near("p1")) == {"p0", "p2"}


def test_a_question_finds_the_passage_with_its_words():
    passages = Passages(animals())
    found = passages.find(["How many hours does the tiger sleep?", "zzz", ""], depth=3)
    assert found[0][0] == next(name for name, text in passages.texts.items() if "tiger" in text)
    assert [len(one) for one in found] == [3, 0, 0]


def test_walks_are_repeatable_and_visit_no_passage_twice_while_there_are_others():
    passages = Passages(animals())
    found = walks(passages, 3, 4, 0.3, seed=7)
    assert found == walks(passages, 3, 4, 0.3, seed=7)
    assert found != walks(passages, 3, 4, 0.3, seed=8)
    assert len({step.document for steps in found for step in steps}) == 12
    assert len(walks(passages, 5, 4, 0.3, seed=7)) == 5
    assert all(not steps[0].goes_on for steps in found)


def test_switches_come_with_the_stated_probability():
    passages = Passages(animals())
    assert all(step.goes_on for step in walk(passages, 6, 0.0, [1])[1:])
    assert not any(step.goes_on for step in walk(passages, 6, 1.0, [1]))
    steps = [step for i in range(200) for step in walk(passages, 6, 0.3, [2, i])[1:]]
    assert sum(not step.goes_on for step in steps) / len(steps) == pytest.approx(0.3, abs=0.05)


def test_too_few_passages_are_refused():
    with pytest.raises(DataError, match="2 passages for 4 turns"):
        Synthesize(Passages(animals(2)))
    with pytest.raises(DataError, match="no passage has 20 words"):
        Passages([Document("a", "short")])
    with pytest.raises(DataError, match="two passages have one id"):
        Passages([*animals(2), animals(1)[0]])
    with pytest.raises(ConfigError, match="least_turns at most turns"):
        SynthesizeSettings(turns=1)


# Whole conversations


def writer(text):
    """Writes a good question and answer of a passage about animals, and a follow-up with a pronoun."""
    passage = re.search(r"Passage: (\w+) The \w+ sleeps (\d+) hours", text)
    if passage:
        return (
            f"Question: How many hours a day does the {passage[1]} sleep?\nAnswer: It sleeps {passage[2]} hours a day."
        )
    return "and how many hours does it sleep?"


def test_conversations_are_made_turn_by_turn(store, tmp_path):
    passages = Passages(animals())
    teacher = Synthesize(passages, SynthesizeSettings(conversations=2, turns=3, switch=0.0, seed=1))
    model = Table(writer)
    outcome = teach(teacher, model, store)
    assert outcome.progress.done == outcome.progress.total == teacher.total == 6 + 4 + 2
    assert sum(model.asked.values()) == 10
    conversations = store.values("synthetic", "conversation")
    assert list(conversations) == ["synthetic-1-1", "synthetic-1-2"]
    value = conversations["synthetic-1-1"]
    steps = teacher.walks[0]
    assert value["documents"] == [step.document for step in steps]
    name = passages.texts[steps[0].document].split()[0]
    assert value["messages"][0]["content"] == value["rewrites"][0] == f"How many hours a day does the {name} sleep?"
    assert value["messages"][2]["content"] == "and how many hours does it sleep?"
    assert value["goes_on"] == [False, True, True]
    contexts = synthetic_contexts(conversations, domain="zoo")
    assert [context.id for context in contexts[:3]] == ["synthetic-1-1#1", "synthetic-1-1#2", "synthetic-1-1#3"]
    third = contexts[2]
    assert (third.group, third.source, third.domain) == ("synthetic-1-1", "synthetic", "zoo")
    assert third.conversation.question == "and how many hours does it sleep?"
    assert len(third.conversation.exchanges) == 2
    assert third.rewrites == {"synthetic": value["rewrites"][2]}
    assert third.relevant == {steps[2].document: 1}
    write_contexts(tmp_path / "out.jsonl", contexts)
    assert read_contexts(tmp_path / "out.jsonl") == contexts
    teach(teacher, model, store)
    assert sum(model.asked.values()) == 10


def test_a_topic_switch_is_asked_as_it_stands(store):
    model = Table(writer)
    teach(Synthesize(Passages(animals()), SynthesizeSettings(conversations=1, turns=3, switch=1.0)), model, store)
    (value,) = store.values("synthetic", "conversation").values()
    assert [value["messages"][i]["content"] for i in (0, 2, 4)] == value["rewrites"]
    assert sum(model.asked.values()) == 3


def test_turns_that_fail_are_left_out_and_short_conversations_dropped(store):
    passages = Passages(animals())
    how = SynthesizeSettings(conversations=1, turns=3, switch=0.0, seed=3)
    steps = Synthesize(passages, how).walks[0]
    names = [passages.texts[step.document].split()[0] for step in steps]

    def refusing(*lost):
        return lambda text: "I cannot." if any(f"Passage: {name} " in text for name in lost) else writer(text)

    teach(Synthesize(passages, how), Table(refusing(names[0])), store)
    (value,) = store.values("synthetic", "conversation").values()
    assert value["documents"] == [steps[1].document, steps[2].document]
    assert value["goes_on"] == [False, True]  # the first one left goes on from nothing
    assert value["messages"][0]["content"] == value["rewrites"][0]
    (row,) = store.rows("synthetic")
    assert (row.label.status, row.label.reason) == ("repaired", "turns left out:1")
    with LabelStore(store.path.with_name("other.sqlite")) as other:
        teach(Synthesize(passages, how), Table(refusing(*names[:2])), other)
        (row,) = other.rows("synthetic")
        assert (row.label.status, row.label.reason) == ("malformed", "turns left out:2")


def test_a_stopped_synthesis_goes_on_with_what_is_missing(store):
    passages, how = Passages(animals()), SynthesizeSettings(conversations=2, turns=3, switch=0.0)
    calls = []

    def failing(text):
        calls.append(text)
        return Failure("server", "500") if len(calls) in (2, 8) else writer(text)

    first = teach(Synthesize(passages, how), Table(failing, in_flight=1), store)
    assert first.failures == {"server": 2}
    model = Table(writer)
    teach(Synthesize(passages, how), model, store)
    assert len(store.values("synthetic", "conversation")) == 2
    assert sum(model.asked.values()) + len(calls) == 10 + 2


def test_the_estimate_foresees_both_rounds(store):
    teacher = Synthesize(Passages(animals()), SynthesizeSettings(conversations=2, turns=3, switch=0.0))
    assert estimate_teacher(teacher, "table@1", store).calls == 10
    teach(teacher, Table(writer), store)
    assert estimate_teacher(teacher, "table@1", store).calls == 0


# The audit


def conversation(*turns):
    """(question as put, rewrite, answer, document) each."""
    messages = [m for put, _, answer, _ in turns for m in ({"content": put}, {"content": answer})]
    return {
        "messages": messages, "rewrites": [turn[1] for turn in turns], "documents": [turn[3] for turn in turns],
        "goes_on": [k > 0 for k in range(len(turns))],
    }  # fmt: skip


def test_the_audit_names_what_is_wrong_and_the_share_that_passes():
    passages = {
        "card": CARD,
        "bike": "Bicycles are lent for 3 days against a deposit of 50 euros.",
        "room": "Rooms are quiet.",
    }
    value = conversation(
        ("What do visitors pay?", "What do visitors pay for a card?", "Visitors pay 12 euros.", "card"),
        ("for how long?", "For how long are bicycles lent?", "They are lent for 3 days.", "bike"),
        ("loud?", "How loud are the rooms?", "Ninety decibels, alas.", "room"),
    )
    copy = conversation(
        ("What do visitors pay?", "What do visitors pay for a card??", "Visitors pay 12 euros.", "bike"),
        ("x", "Bicycles are lent for 3 days against a deposit of what?", "50 euros.", "bike"),
    )

    def finds(questions):
        return [["card"] if "visitors" in question else ["bike", "room"] for question in questions]

    report = audit_synthetic({"s1": value, "s2": copy}, passages, asked=8, finds=finds)
    flagged = {check.name: check.flagged for check in report.checks}
    assert flagged["grounding"] == ("s1#3", "s2#1")
    assert flagged["copied sentences"] == ("s2#2",)
    assert flagged["near-duplicates"] == ("s2#1", "s2#2")  # s1#1's question again; bike for the third time
    assert flagged["finds its passage"] == ("s2#1",)
    (passes,) = [check for check in report.checks if check.name == "passes"]
    assert passes.figures == {"asked": 8, "kept": 5, "passing": 2, "share": 0.25}
    assert passes.flagged == ("s1#3", "s2#1", "s2#2")
    assert "25 % of the 8 turns pass" in report.text()


def test_the_audit_of_nothing():
    report = audit_synthetic({}, {}, asked=4)
    assert report.checks[-1].figures["share"] == 0.0
    assert report.warnings


@pytest.mark.slow
def test_the_small_real_model_synthesizes(smollm2, store):
    passages = Passages(animals())
    teacher = Synthesize(passages, SynthesizeSettings(conversations=1, turns=2, least_turns=1, max_tokens=48))
    asyncio.run(teach_async(teacher, smollm2, store))
    (row,) = store.rows("synthetic")
    questions = list(store.rows("synthetic/questions"))
    assert len(questions) == 2
    assert all(one.label.raw.strip() for one in questions)
    good = sum(one.label.status != "malformed" for one in questions)
    assert (row.label.value is not None) == (good >= 1)
