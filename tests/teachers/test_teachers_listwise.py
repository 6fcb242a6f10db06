"""Listwise: windows from the end to the head, each a label of its own."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_model import Table, by_context

from distillir.errors import ConfigError, LabelError
from distillir.labels import LabelStore
from distillir.labels.audit import audit_store
from distillir.teachers import Failure, Generated, Usage
from distillir.teachers.listwise import Listwise, ListwiseSettings, window_starts
from distillir.teachers.teacher import Candidates, estimate_teacher, made_labels, teach


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def shown(text):
    """Texts of the passages in a prompt, in the order of their marks."""
    lines = [line for line in text.splitlines() if line.startswith("[")]
    return [line.split("] ", 1)[1] for line in lines]


def perfect(text):
    """Orders passages that are numbers, the larger the better."""
    values = [float(part) for part in shown(text)]
    order = sorted(range(len(values)), key=lambda i: -values[i])
    return " > ".join(f"[{i + 1}]" for i in order)


def candidates(values, name="c"):
    return Candidates(name, "which is larger?", {f"d{value}": str(value) for value in values})


@pytest.mark.parametrize(
    ("length", "window", "step", "starts"),
    [
        (8, 4, 2, [4, 2, 0]),
        (9, 4, 2, [5, 3, 1, 0]),  # the head is never left out
        (4, 4, 2, [0]),
        (3, 4, 2, [0]),
        (100, 20, 10, [80, 70, 60, 50, 40, 30, 20, 10, 0]),
    ],
)
def test_windows_reach_from_the_end_to_the_head(length, window, step, starts):
    assert window_starts(length, window, step) == starts


def test_a_pass_worked_by_hand(store):
    # Window 3, step 2 over 1 5 2 4 3:  [2 4 3] → 4 3 2, list 1 5 4 3 2;  [1 5 4] → 5 4 1, list 5 4 1 3 2.
    model = Table(perfect, in_flight=1)
    outcome = teach(Listwise([candidates([1, 5, 2, 4, 3])], ListwiseSettings(window=3, step=2)), model, store)
    assert [shown(q.messages[-1].content) for q in model.questions] == [["2", "4", "3"], ["1", "5", "4"]]
    label = by_context(store, "listwise")["c"]
    assert label.value == ["d5", "d4", "d1", "d3", "d2"]
    assert (label.status, label.attempts, label.cost) == ("ok", 0, 0.0)
    assert (outcome.progress.done, outcome.progress.total) == (3, 3)
    windows = list(store.rows("listwise/windows"))
    assert [row.label.value for row in windows] == [["d4", "d3", "d2"], ["d5", "d4", "d1"]]
    assert [row.label.raw for row in windows] == ["[2] > [3] > [1]", "[2] > [3] > [1]"]
    assert [row.context_ids for row in windows] == [("c#1",), ("c#2",)]
    assert json.loads(label.raw) == {"windows": [row.key for row in windows]}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-99, 99), unique=True, min_size=1, max_size=14),
    st.integers(2, 6).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window - 1))),
)
def test_p_passes_of_a_perfect_model_order_the_first_p_times_window_minus_step(values, sizes):
    window, step = sizes
    best = sorted(values, reverse=True)
    order = list(values)
    passes = math.ceil(len(values) / (window - step))
    for done in range(1, passes + 1):
        for start in window_starts(len(order), window, step) if len(order) > 1 else []:
            order[start : start + window] = sorted(order[start : start + window], reverse=True)
        assert order[: done * (window - step)] == best[: done * (window - step)]
    assert order == best


def test_enough_passes_sort_the_list_and_one_fewer_does_not(store):
    values = list(range(1, 9))  # the worst list: the best document last
    order = {}
    for passes in (3, 4):  # 8 documents, 2 a pass
        how = ListwiseSettings(f"p{passes}", window=4, step=2, passes=passes)
        teach(Listwise([candidates(values)], how), Table(perfect), store)
        order[passes] = by_context(store, f"p{passes}")["c"].value
    best = [f"d{value}" for value in sorted(values, reverse=True)]
    assert order[4] == best
    assert order[3][:6] == best[:6]


def test_lists_go_side_by_side_and_keep_their_own_documents(store):
    numbers = random.Random(1)
    lists = {f"c{i}": numbers.sample(range(50), numbers.randint(1, 9)) for i in range(7)}
    how = ListwiseSettings(window=4, step=2, passes=5)
    teach(Listwise([candidates(values, name) for name, values in lists.items()], how), Table(perfect), store)
    found = by_context(store, "listwise")
    assert {name: label.value for name, label in found.items()} == {
        name: [f"d{value}" for value in sorted(values, reverse=True)] for name, values in lists.items()
    }


def test_many_lists_are_worked_on_in_blocks(store, monkeypatch):
    monkeypatch.setattr("distillir.teachers.teacher.BLOCK", 2)
    teacher = Listwise([candidates([i, i + 1, i + 2], f"c{i}") for i in range(5)])
    outcome = teach(teacher, Table(perfect), store)
    assert outcome.progress.done == outcome.progress.total == 10
    assert {name: label.value[0] for name, label in made_labels(teacher, "table@1", store).items()} == {
        f"c{i}": f"d{i + 2}" for i in range(5)
    }
    assert made_labels(teacher, "another", store) == {}


def test_a_single_document_needs_no_call(store):
    model = Table({})
    teach(Listwise([candidates([7])]), model, store)
    assert by_context(store, "listwise")["c"].value == ["d7"]
    assert not model.asked


def test_faults_are_repaired_counted_and_kept(store):
    replies = iter(["[3] > [3] > [9]", "I like them all", "[2] > [1] > [3]"])
    raw = []

    def say(text):
        raw.append(next(replies))
        return raw[-1]

    how = ListwiseSettings(window=3, step=1, least=0.3)
    teach(Listwise([candidates([1, 2, 3, 4, 5])], how), Table(say, in_flight=1), store)
    label = by_context(store, "listwise")["c"]
    # 3 4 5 → 5 3 4 (4 and 3 missing: as shown); 2 5 3 stays; 1 2 5 → 2 1 5.
    assert label.value == ["d2", "d1", "d5", "d3", "d4"]
    assert (label.status, label.reason) == ("repaired", "missing:2; repeated:1; invented:1; malformed windows:1")
    windows = list(store.rows("listwise/windows"))
    assert [row.label.status for row in windows] == ["repaired", "malformed", "ok"]
    assert [row.label.raw for row in windows] == raw
    checks = {(check.subject, check.name): check for check in audit_store(store).checks}
    assert checks["listwise/windows (order)", "order"].n == 3


def test_an_order_without_any_good_window_is_malformed(store):
    teach(Listwise([candidates([1, 2, 3])]), Table(lambda _: "none of them"), store)
    label = by_context(store, "listwise")["c"]
    assert (label.value, label.status, label.reason) == (None, "malformed", "malformed windows:1")
    assert store.values("listwise", "order") == {}


def test_a_stopped_list_goes_on_from_its_last_window(store):
    calls = []

    def failing_at_third(text):
        calls.append(text)
        return Failure("server", "500") if len(calls) == 3 else perfect(text)

    values = [3, 1, 4, 8, 5, 9, 2, 6]
    how = ListwiseSettings(window=4, step=2)
    outcome = teach(Listwise([candidates(values)], how), Table(failing_at_third), store)
    assert outcome.failures == {"server": 1}
    assert by_context(store, "listwise") == {}
    model = Table(perfect)
    teach(Listwise([candidates(values)], how), model, store)
    assert sum(model.asked.values()) == 1
    assert not set(model.asked) & set(calls[:2])
    straight = Table(perfect)
    with LabelStore(store.path.with_name("other.sqlite")) as other:
        teach(Listwise([candidates(values)], how), straight, other)
        assert by_context(other, "listwise")["c"].value == by_context(store, "listwise")["c"].value
    teach(Listwise([candidates(values)], how), model, store)
    assert sum(model.asked.values()) == 1


def test_marks_inside_passages_are_defused_and_long_passages_cut(store):
    model = Table(lambda _: "[2] > [1]")
    given = Candidates("c", "q?", {"a": "see [2] and\n[17]", "b": "word " * 50})
    teach(Listwise([given], ListwiseSettings(words=5)), model, store)
    text = model.questions[0].messages[-1].content
    assert "[1] see (2) and (17)\n\n[2] word word word word word …\n" in text
    assert by_context(store, "listwise")["c"].value == ["b", "a"]


def test_a_reply_that_was_cut_off_is_told(store):
    said = Generated(("[2] > [1]",), Usage(5, 5, calls=1, attempts=1), "m", ("length",))
    teach(Listwise([candidates([1, 2, 3])]), Table(lambda _: said), store)
    (window,) = store.rows("listwise/windows")
    assert window.label.reason == "cut off (length); missing:1"


def test_the_estimate_foresees_all_windows_and_knows_the_stored_ones(store):
    how = ListwiseSettings(window=4, step=2)
    teacher = Listwise([candidates([3, 1, 4, 8, 5, 9, 2, 6]), candidates([1, 2], "d")], how)
    assert teacher.total == 6
    assert estimate_teacher(teacher, "table@1", store).calls == 4
    teach(teacher, Table(perfect), store)
    told = estimate_teacher(teacher, "table@1", store)
    assert (told.calls, told.price) == (0, 0.0)
    assert estimate_teacher(teacher, "table@2", store).at_most == 0.0


@pytest.mark.parametrize("bad", [{"step": 20}, {"step": 0}, {"passes": 0}, {"least": 0}, {"window": 1, "step": 1}])
def test_settings_that_lead_nowhere_are_refused(bad):
    with pytest.raises(ConfigError):
        ListwiseSettings(**bad)


def test_candidates_need_a_question_and_documents():
    with pytest.raises(LabelError, match="0 candidates"):
        Candidates("c", "q?", {})
    with pytest.raises(LabelError, match="query ' '"):
        Candidates("c", " ", {"a": "b"})
