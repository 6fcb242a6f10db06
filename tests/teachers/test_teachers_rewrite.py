"""Rewrite: what of a reply becomes a label, and what is never asked."""

import asyncio

import pytest
from table_model import Table, by_context, context

from distillir.errors import LabelError
from distillir.labels import LabelStore
from distillir.teachers import Failure, Generated, RunSettings, Usage
from distillir.teachers.prompts import load_prompt
from distillir.teachers.rewrite import Rewrite, RewriteSettings
from distillir.teachers.teacher import estimate_teacher, teach, teach_async

APPLE = context("a", "When was Apple founded?", "In 1976.", "Who were the founders?")
FIRST = context("f", "How tall is Everest?")


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def label_of(store, given, reply, finish="stop", **settings):
    said = Generated((reply,), Usage(7, 3, 0.5, calls=1, attempts=1), "m", (finish,))
    teach(Rewrite([given], RewriteSettings(**settings)), Table(lambda _: said), store)
    return by_context(store, "llm")[given.id]


def test_the_model_sees_the_history_and_the_question(store):
    model = Table(lambda _: "Who were the founders of Apple?")
    outcome = teach(Rewrite([APPLE]), model, store)
    (question,) = model.questions
    last = "Chat:\nUser: When was Apple founded?\nAssistant: In 1976.\n\nLast message: Who were the founders?"
    assert question.messages[-1].content == last
    assert (question.max_tokens, question.temperature, question.n) == (64, 0.0, 1)
    label = by_context(store, "llm")["a"]
    assert (label.value, label.status, label.reason) == ("Who were the founders of Apple?", "ok", "")
    assert (label.tokens_in, label.tokens_out, label.attempts, label.model_id) == (7, 3, 1, "table-2026")
    assert outcome.progress.done == outcome.progress.total == 1


def test_long_histories_and_messages_are_cut_and_the_latest_stay(store):
    turns = [text for i in range(6) for text in (f"q{i}", f"a{i} {'word ' * 80}")]
    model = Table(lambda _: "What?")
    teach(Rewrite([context("c", *turns, "and?")], RewriteSettings(exchanges=2, answer_words=3)), model, store)
    shown = model.questions[0].messages[-1].content
    assert "User: q4\nAssistant: a4 word word …\nUser: q5\nAssistant: a5 word word …\n" in shown
    assert "q3" not in shown


@pytest.mark.parametrize(
    ("reply", "value", "status", "reason"),
    [
        ('Rewritten question: "Who founded Apple?"', "Who founded Apple?", "repaired", "label or quotes"),
        ("Who founded Apple?\nIt was Jobs.", "Who founded Apple?", "repaired", "later lines"),
        ("", None, "repaired", "fallback; empty"),
        ("I'm sorry, I cannot help with that.", None, "repaired", "fallback; refusal"),
        ("word " * 41 + "?", None, "repaired", "fallback; too long"),
        ("Кто основал компанию Apple?", None, "repaired", "fallback; another language (LATIN → CYRILLIC)"),
    ],
)
def test_replies_are_repaired_or_fall_back_to_the_last_turn(store, reply, value, status, reason):
    label = label_of(store, APPLE, reply)
    assert (label.value, label.status, label.reason) == (value or "Who were the founders?", status, reason)
    assert label.raw == reply


def test_a_reply_that_was_cut_off_falls_back(store):
    label = label_of(store, APPLE, "Who were the founders of", finish="length")
    assert (label.value, label.reason) == ("Who were the founders?", "fallback; cut off (length)")


def test_a_long_question_may_have_a_long_rewrite(store):
    long = context("l", "Hi", "Hello", "word " * 30 + "?")
    assert label_of(store, long, "word " * 50 + "?").status == "ok"


def test_drift_within_one_script_is_seen(store):
    german = context("g", "Wie lange hält die Milch?", "Drei Tage.", "Und wie ist es mit dem Käse?")
    label = label_of(store, german, "How long is it that the cheese can be kept in the fridge?")
    assert label.reason == "fallback; another language (de → en)"


def test_a_first_turn_is_its_own_rewrite_and_costs_nothing(store):
    model = Table({})
    outcome = teach(Rewrite([FIRST]), model, store)
    label = by_context(store, "llm")["f"]
    assert (label.value, label.status, label.reason) == ("How tall is Everest?", "ok", "first turn")
    assert (label.attempts, label.cost, label.tokens_in) == (0, 0.0, 0)
    assert not model.asked
    assert outcome.usage.calls == 0
    assert store.rewrites("llm") == {"f": "How tall is Everest?"}


def test_first_turns_that_begin_alike_do_not_share_a_label(store):
    long = "word " * 120
    teach(Rewrite([context("x", long + "one?"), context("y", long + "two?")]), Table({}), store)
    assert store.rewrites("llm") == {"x": long + "one?", "y": long + "two?"}


def test_nothing_is_asked_twice_and_a_changed_prompt_is_asked_anew(store, tmp_path):
    model = Table(lambda _: "Who founded Apple?")
    again = context("b", "When was Apple founded?", "In 1976.", "Who were the founders?")
    teach(Rewrite([APPLE, FIRST, again]), model, store)
    teach(Rewrite([APPLE, FIRST, again]), model, store)
    assert sum(model.asked.values()) == 1  # one input, one call, for both contexts
    assert store.rewrites("llm") == {"a": "Who founded Apple?", "b": "Who founded Apple?", "f": "How tall is Everest?"}
    prompt = tmp_path / "mine.yaml"
    prompt.write_text('user: "{history} {question}"\n', encoding="utf-8")
    other = Table(lambda _: "Who started Apple?")
    teach(Rewrite([APPLE], RewriteSettings(prompt=prompt)), other, store)
    assert list(other.asked) == ["User: When was Apple founded?\nAssistant: In 1976. Who were the founders?"]
    version = load_prompt(prompt, ["history", "question"]).version
    assert store.rewrites("llm", prompt_version=version) == {"a": "Who started Apple?"}


def test_a_failure_stays_open_for_the_next_run(store):
    outcome = teach(Rewrite([APPLE]), Table(lambda _: Failure("server", "500")), store)
    assert outcome.failures == {"server": 1}
    assert store.rewrites("llm") == {}
    teach(Rewrite([APPLE]), Table(lambda _: "Who founded Apple?"), store)
    assert store.rewrites("llm") == {"a": "Who founded Apple?"}


def test_the_estimate_counts_calls_not_first_turns(store):
    teacher = Rewrite([APPLE, FIRST])
    told = estimate_teacher(teacher, "table@1", store)
    assert (told.calls, told.requests, told.tokens_out) == (1, 1, 16)
    assert told.tokens_in > teacher.prompt.tokens > 100
    teach(teacher, Table(lambda _: "Who founded Apple?"), store)
    assert estimate_teacher(teacher, "table@1", store).calls == 0
    assert estimate_teacher(teacher, "another", store).calls == 1
    assert len(store) == 2


def test_a_budget_covers_the_whole_run(store):
    from distillir.teachers import Prices

    settings = RunSettings(prices=Prices(call=1.0), budget=0.5)
    outcome = teach(Rewrite([APPLE]), Table(lambda _: "Who?"), store, settings)
    assert outcome.stopped == "budget"
    assert store.rewrites("llm") == {}


def test_two_contexts_of_one_name_are_refused():
    with pytest.raises(LabelError, match="two contexts are called 'a'"):
        Rewrite([APPLE, APPLE])


def test_the_small_real_model_rewrites(smollm2, store):
    teacher = Rewrite([APPLE, FIRST], RewriteSettings(max_tokens=16))
    outcome = asyncio.run(teach_async(teacher, smollm2, store))
    assert outcome.progress.done == 2
    label = by_context(store, "llm")["a"]
    assert label.raw.strip()
    assert label.tokens_in > 300
    assert label.value == "Who were the founders?" or "founders" in label.value
