import json
import sqlite3
import subprocess
import sys
import textwrap
import threading
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillir.errors import LabelError
from distillir.labels import Label, LabelRequest, LabelStore, StoredLabel, TeacherSummary, overview
from distillir.labels import reader as reader_module


def ask(i, context=None, **change):
    fields = {"teacher": "llm", "model": "m1", "prompt_version": "p1", "input": ["q", i]} | change
    return LabelRequest(**fields, context_id=f"c{i}" if context is None else context)


def say(text="r", **change):
    return Label("rewrite", text, raw=text, **change)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def test_a_label_comes_back_whole_after_reopening(store):
    label = Label(
        "scores", {"d1": 0.1, "d2": -3}, "raw ☃", "repaired", "m1-2024", 10, 4, 0.25, 0.002, "2024-05-01T00:00:00+00:00"
    )
    assert store.put(ask(1), label) is True
    assert store.get(ask(2).key) is None
    store.close()
    with LabelStore(store.path) as again:
        assert again.get(ask(1).key) == label
        assert len(again) == 1


def test_the_time_of_storing_is_utc(store):
    store.put(ask(1), say())
    created = datetime.fromisoformat(store.get(ask(1).key).created)
    assert created.utcoffset().total_seconds() == 0
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60


def test_putting_the_same_value_again_changes_nothing_another_is_refused(store):
    store.put(ask(1), say("one", seconds=1.0))
    assert store.put(ask(1), say("one", seconds=2.0)) is False
    assert store.get(ask(1).key).seconds == 1.0
    with pytest.raises(LabelError, match=r"already answered \"one\" for context 'c1', not \"two\""):
        store.put(ask(1), say("two"))
    with pytest.raises(LabelError, match="already answered"):
        store.put(ask(1), Label("response", "one"))
    assert store.get(ask(1).key).value == "one"


def test_put_many_is_all_or_none(store):
    store.put(ask(2), say("two"))
    with pytest.raises(LabelError):
        store.put_many([(ask(1), say("one")), (ask(2), say("other")), (ask(3), say("three"))])
    assert store.get(ask(1).key) is None
    assert store.put_many([(ask(1), say("one")), (ask(2), say("two"))]) == 1


def test_missing_are_those_never_committed_and_malformed_ones_were(store):
    store.put(ask(1), say())
    store.put(ask(2), Label("rewrite", None, raw="I cannot", status="malformed"))
    assert store.missing([ask(1), ask(2), ask(3), ask(3), ask(4)]) == [ask(3), ask(4)]
    assert store.get(ask(2).key).raw == "I cannot"


def test_a_changed_prompt_reuses_nothing(store):
    store.put(ask(1), say())
    assert (
        store.missing([ask(1, prompt_version="p2"), ask(1, parameters={"temperature": 1}), ask(1, sample_index=1)])
        != []
    )
    assert len(store.missing([ask(1), ask(1, prompt_version="p2")])) == 1


def test_contexts_with_one_input_share_the_label_that_was_paid_for(store):
    hello = [ask(0, "c1"), ask(0, "c2")]
    assert store.missing(hello) == [hello[0]]
    store.put(hello[0], say("hello"))
    assert store.rewrites("llm") == {"c1": "hello", "c2": "hello"}


def test_of_a_context_that_changed_the_latest_request_counts(store):
    old, new = ask(1, "c"), ask(2, "c")
    store.put(old, say("old"))
    store.put(new, say("new"))
    assert store.rewrites("llm") == {"c": "new"}
    store.missing([old])
    assert store.rewrites("llm") == {"c": "old"}


def test_rewrites_leave_malformed_and_other_samples_out(store):
    store.put(ask(1), say("one"))
    store.put(ask(2), Label("rewrite", None, status="malformed"))
    store.put(ask(3, sample_index=1), say("second try"))
    store.put(ask(4, teacher="human"), say("by hand"))
    assert store.rewrites("llm") == {"c1": "one"}
    assert store.values("llm", "rewrite", sample_index=1) == {"c3": "second try"}
    assert store.values("llm", "order") == {}


def test_labels_made_in_two_ways_are_not_mixed(store):
    store.put(ask(1), say("one"))
    store.put(ask(2, prompt_version="p2"), say("two"))
    with pytest.raises(LabelError, match="made in two ways"):
        store.rewrites("llm")
    assert store.rewrites("llm", prompt_version="p2") == {"c2": "two"}
    store.put(ask(1, teacher="human", model="canard"), say("a"))
    store.put(ask(2, teacher="human", model="qrecc"), say("b"))
    assert store.rewrites("human") == {"c1": "a", "c2": "b"}  # data sets side by side
    store.put(ask(1, teacher="human", model="qrecc"), say("c"))
    with pytest.raises(LabelError, match="context 'c1' has labels"):
        store.rewrites("human")
    assert store.rewrites("human", model="qrecc") == {"c1": "c", "c2": "b"}


def test_rows_come_in_order_by_pages_while_others_write(store, monkeypatch):
    monkeypatch.setattr(reader_module, "PAGE", 3)
    store.put_many((ask(i), say(f"r{i}")) for i in range(7))
    store.put(ask(0, teacher="judge"), Label("order", ["d2", "d1"]))
    seen = []
    with LabelStore(store.path) as writer:
        for row in store.rows("llm"):
            seen.append(row.label.value)
            writer.put(ask(0, f"also{len(seen)}"), say("r0"))  # a reader must not hold it up
    assert seen == [f"r{i}" for i in range(7)]
    (row,) = store.rows(kind="order")
    request = ask(0, teacher="judge")
    assert row == StoredLabel(
        request.key,
        "judge",
        "m1",
        "p1",
        {},
        0,
        request.input_hash,
        ("c0",),
        Label("order", ["d2", "d1"], created=row.label.created),
    )


def test_teachers_sum_up_what_they_gave_and_cost(store):
    spent = {"tokens_in": 10, "tokens_out": 2, "seconds": 0.5, "cost": 0.25}
    store.put(ask(1), say(**spent))
    store.put(ask(2), say(**spent, status="repaired"))
    store.put(ask(3), Label("rewrite", None, status="malformed", **spent))
    store.put(ask(1, teacher="human", model="me"), say())
    assert store.teachers() == [
        TeacherSummary("human", "me", "p1", 1, 0, 0, 0, 0, 0.0, 0.0, 0),
        TeacherSummary("llm", "m1", "p1", 1, 1, 1, 30, 6, 1.5, 0.75, 0),
    ]


def test_scales_are_not_mixed(store):
    def score(value, scale):
        return Label("scores", {"d": value}, scale=scale)

    store.put(ask(1), score(0.5, "probability"))
    store.put(ask(2), Label("scores", None, status="malformed"))  # on no scale
    assert store.values("llm", "scores") == {"c1": {"d": 0.5}}
    store.put(ask(3), score(-7.0, "logit"))
    with pytest.raises(LabelError, match="two scales, 'probability' and 'logit'"):
        store.values("llm", "scores")


def test_a_late_second_answer_is_kept_aside(store):
    store.put(ask(1), say("first"))
    assert store.put_many([(ask(1), say("second", cost=0.5)), (ask(2), say("two"))], keep_first=True) == 1
    assert store.rewrites("llm") == {"c1": "first", "c2": "two"}
    store.put_many([(ask(1), say("second"))], keep_first=True)
    (kept,) = store.conflicts()
    assert (kept.key, kept.teacher, kept.context_id) == (ask(1).key, "llm", "c1")
    assert (kept.kept, kept.refused) == ('"first"', '"second"')


def test_known_keys_are_told_without_a_trace(store):
    store.put(ask(1), say())
    before = store.path.read_bytes(), store.uses()
    assert store.known(ask(i).key for i in range(1200)) == {ask(1).key}
    assert (store.path.read_bytes(), store.uses()) == before


def test_a_half_character_of_a_broken_endpoint_does_not_stop_the_store(store):
    store.put(ask(1), Label("rewrite", None, raw="a\ud800b\0c", status="malformed", reason="\udfff"))
    assert store.get(ask(1).key).raw == "a?b\0c"
    with pytest.raises(LabelError, match="finite amounts"):
        Label("rewrite", "r", tokens_in=2**63)


def test_a_store_that_is_only_read_is_not_made(tmp_path):
    with pytest.raises(LabelError, match="no label store here"):
        LabelStore(tmp_path / "none.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_the_overview_counts_calls_without_a_label(tmp_path):
    now = [1000.0]
    with LabelStore(tmp_path / "l.db", clock=lambda: now[0]) as store:
        store.put(ask(1), say(attempts=3, tokens_in=10, tokens_out=2, seconds=0.5, cost=0.25))
        store.put(ask(2), Label("scores", {"d": 1.0}, scale="logit"))
        store.put(ask(3), Label("rewrite", None, status="malformed"))
        store.claim([ask(4), ask(5), ask(6)], "a", ttl=10)
        store.claim([ask(1, teacher="new")], "a", ttl=100)
        store.give_up(ask(6), "a", "timeout", attempts=4, possibly_paid=2, cost=0.5)
        now[0] = 1020.0  # 4 and 5 ran out: one is asked again, one is not
        store.claim([ask(4)], "b", ttl=10)
        rewrites, scores, new = overview(store, now[0])
        assert (rewrites.teacher, rewrites.kind, scores.kind, scores.scale) == ("llm", "rewrite", "scores", "logit")
        assert (rewrites.ok, rewrites.malformed, rewrites.labels, rewrites.contexts) == (1, 1, 2, 2)
        assert (rewrites.attempts, rewrites.failures, rewrites.cost) == (3 + 1 + 4, 1, 0.75)
        assert rewrites.possibly_paid == 2 + 1 + 1  # time-outs, a takeover, a lease that ran out
        assert (rewrites.in_flight, scores.possibly_paid) == (1, 0)
        assert (new.teacher, new.kind, new.labels, new.in_flight) == ("new", "", 0, 1)
        assert store.claim([ask(6)], "c", ttl=10) == [ask(6)]  # given up is not answered


def test_leases_keep_two_workers_apart_until_they_run_out(tmp_path):
    now = [1000.0]
    with LabelStore(tmp_path / "l.db", clock=lambda: now[0]) as store:
        requests = [ask(i) for i in range(3)]
        assert store.claim(requests[:2], "a", ttl=10) == requests[:2]
        assert store.claim(requests, "b", ttl=10) == requests[2:]
        assert store.claim(requests, "a", ttl=20) == requests[:2]  # extended to 1020
        now[0] = 1015.0
        assert store.claim(requests, "c", ttl=10) == requests[2:]  # b's ran out at 1010
        store.release(requests, "b")  # b holds nothing any more
        store.release([requests[0]], "a")
        assert store.claim(requests, "d", ttl=10) == requests[:1]
        store.put(requests[1], say())
        now[0] = 2000.0
        assert store.claim(requests, "e", ttl=10) == [requests[0], requests[2]]
        # c from b, and e from d and c: three calls that may have been paid twice.
        assert [summary.takeovers for summary in store.teachers()] == [3]
        with pytest.raises(LabelError, match="a lease of 0 seconds"):
            store.claim(requests, "f", ttl=0)


def test_threads_share_a_store(store):
    def work(n):
        for i in range(20):
            store.put(ask(f"{n}-{i}"), say())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 80


CLAIMER = textwrap.dedent("""
    import sys
    from distillir.labels import Label, LabelRequest, LabelStore
    requests = [LabelRequest("llm", "m1", "p1", ["q", i], context_id=f"c{i}") for i in range(60)]
    with LabelStore(sys.argv[1]) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for start in range(0, 60, 3):
            for request in store.claim(requests[start : start + 6], sys.argv[2], ttl=60):
                print(request.key, flush=True)
                store.put(request, Label("rewrite", f"by {sys.argv[2]}"))
""")


def child(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_never_ask_the_same_question(tmp_path):
    path = tmp_path / "l.db"
    workers = [child(CLAIMER, path, name) for name in ("a", "b")]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    asked = [key for worker in workers for key in worker.communicate(timeout=60)[0].split()]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(asked) == len(set(asked)) == 60
    with LabelStore(path) as store:
        assert len(store) == 60


PUTTER = textwrap.dedent("""
    import itertools, sys
    from distillir.labels import Label, LabelRequest, LabelStore
    store = LabelStore(sys.argv[1])
    for i in itertools.count():
        request = LabelRequest("llm", "m1", "p1", ["q", i], context_id=f"c{i}")
        store.claim([request], "killed", ttl=0.001)
        store.put(request, Label("rewrite", f"r{i}", raw="x" * 3000))
        print(request.key, flush=True)
""")


def test_acknowledged_labels_survive_a_kill(tmp_path):
    path = tmp_path / "l.db"
    for round_number in (1, 2):
        with child(PUTTER, path) as worker:
            acknowledged = [worker.stdout.readline().strip() for _ in range(40 * round_number)]
            worker.kill()
            acknowledged += [line.strip() for line in worker.stdout if line.endswith("\n")]
        assert worker.returncode == -9
        with LabelStore(path) as store:
            values = [store.get(key).value for key in acknowledged]
            assert values == [f"r{i}" for i in range(len(acknowledged))]
            # At most the one label in flight is there unacknowledged; it was not lost either.
            assert len(acknowledged) <= len(store)
            assert store.put(ask("after the kill", str(round_number), sample_index=round_number), say()) is True


FORKER = textwrap.dedent("""
    import os, sys
    from distillir.errors import LabelError
    from distillir.labels import LabelStore
    store = LabelStore(sys.argv[1])
    if os.fork() == 0:
        try:
            len(store)
        except LabelError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
""")


def test_a_forked_process_must_open_its_own(tmp_path):
    # In a process of its own: forking one that has threads is an error of newer Pythons.
    said, _ = child(FORKER, tmp_path / "l.db").communicate(timeout=60)
    assert "open the store after forking" in said


def test_other_databases_and_other_files_are_refused(tmp_path):
    foreign, text, folder = tmp_path / "other.db", tmp_path / "notes.txt", tmp_path / "folder"
    with sqlite3.connect(foreign) as raw:
        raw.execute("CREATE TABLE notes (x)")
    raw.close()
    before = foreign.read_bytes()
    with pytest.raises(LabelError, match="a database of something else"):
        LabelStore(foreign)
    assert foreign.read_bytes() == before
    text.write_text("no database at all, but long enough to have a header " * 50)
    with pytest.raises(LabelError, match="no label store or a damaged one"):
        LabelStore(text)
    folder.mkdir()
    with pytest.raises(LabelError, match="unable to open"):
        LabelStore(folder)
    with pytest.raises(LabelError, match="notes"):
        LabelStore(text / "below.db")


@pytest.mark.parametrize("damage", ["header", "middle", "truncated"])
def test_a_damaged_file_is_a_label_error(store, damage):
    store.put_many((ask(i), say(f"text {i} " * 20)) for i in range(300))
    store.close()
    content = bytearray(store.path.read_bytes())
    if damage == "header":
        content[:16] = b"\0" * 16
    elif damage == "middle":
        content[4096:-4096] = b"\xaa" * (len(content) - 8192)
    else:
        content = content[: len(content) // 3]
    store.path.write_bytes(content)
    with pytest.raises(LabelError, match="damaged"), LabelStore(store.path) as opened:
        list(opened.rows())


def test_a_value_damaged_inside_is_a_label_error(store):
    store.put(ask(1), say())
    with sqlite3.connect(store.path) as raw:
        raw.execute("UPDATE labels SET value = '\"r'")
    raw.close()
    with pytest.raises(LabelError, match="a damaged label"):
        store.get(ask(1).key)


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(LabelError, match="the store is closed"):
        len(store)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
labels = st.one_of(
    st.builds(Label, st.sampled_from(["rewrite", "response"]), texts.filter(lambda text: text.strip() != ""), texts),
    st.builds(Label, st.just("order"), st.lists(texts, min_size=1, max_size=4, unique=True), texts),
    st.builds(
        Label,
        st.just("scores"),
        st.dictionaries(
            texts, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70), min_size=1
        ),
        texts,
        st.sampled_from(["ok", "repaired"]),
    ),
    st.builds(
        Label, st.sampled_from(["rewrite", "order", "scores", "response"]), st.none(), texts, st.just("malformed")
    ),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_labels=st.lists(labels, min_size=1, max_size=5))
def test_any_labels_come_back(store, given_labels):
    salt = uuid.uuid4()  # the store is shared by the examples
    requests = [ask(f"{salt} {i}") for i in range(len(given_labels))]
    assert store.put_many(zip(requests, given_labels, strict=True)) == len(requests)
    for request, label in zip(requests, given_labels, strict=True):
        back = store.get(request.key)
        assert (back.kind, back.raw, back.status) == (label.kind, label.raw, label.status)
        assert json.dumps(back.value, sort_keys=True) == json.dumps(label.value, sort_keys=True)
        assert store.put(request, label) is False
