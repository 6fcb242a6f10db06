"""Shards, bundles and merges: what leaves a store comes back the same, under the same keys, once."""

import json
import subprocess
import sys
import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillir.errors import DataError, LabelError
from distillir.labels import (
    Label,
    LabelRequest,
    LabelStore,
    ShardWriter,
    export_bundle,
    import_bundle,
    merge,
    shard_keys,
)
from distillir.labels.bundle import Bundle
from distillir.labels.shards import Shard


def ask(i, context=None, **change):
    fields = {"teacher": "llm", "model": "m1", "prompt_version": "p1", "input": ["q", i]} | change
    return LabelRequest(**fields, context_id=f"c{i}" if context is None else context)


def say(text="r", **change):
    return Label("rewrite", text, raw=text, created="2025-01-02T03:04:05+00:00", **change)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


@pytest.fixture
def other(tmp_path):
    with LabelStore(tmp_path / "other.db") as opened:
        yield opened


def content(store):
    return [(row.key, row.parameters, sorted(row.context_ids), row.label) for row in store.rows()]


def fill(store):
    store.put(
        ask(1, parameters={"temperature": 0, "stop": ["\n"]}), say("one ☃", cost=0.5, reason="quotes", attempts=2)
    )
    store.put(ask(2), Label("rewrite", None, raw="I cannot", status="malformed", reason="refusal"))
    store.put(ask(3, teacher="judge"), Label("scores", {"d1": 0.1, "d2": -3}, scale="logit"))
    store.put(ask(4, teacher="judge"), Label("order", ["d2", "d1"]))
    store.put(ask(5), Label("responses", [{"text": "Hi", "log_likelihood": -1.5}]))
    store.put(ask(6), Label("conversation", {"messages": [{"role": "user", "content": "Hi"}], "passage": "d1"}))


def test_prompts_go_along_with_the_labels_that_they_made(store, tmp_path):
    store.put(ask(1, prompt_version="mine"), say())
    store.put(ask(2, prompt_version="lost"), say())
    done = export_bundle(store, tmp_path / "bundle", prompts={"mine": "user: {question} ☃\n", "unused": "user: no\n"})
    assert done.untold == ("lost",)
    (told,) = (tmp_path / "bundle" / "prompts").iterdir()
    assert (told.name, told.read_text(encoding="utf-8")) == ("mine.yaml", "user: {question} ☃\n")
    export_bundle(store, tmp_path / "bundle", prompts={"lost": "user: found"})
    assert [path.name for path in (tmp_path / "bundle" / "prompts").iterdir()] == ["lost.yaml"]


def test_a_prompt_with_a_key_in_it_is_not_published(store, tmp_path):
    store.put(ask(1, prompt_version="mine"), say())
    export_bundle(store, tmp_path / "b")
    before = (tmp_path / "b" / "labels.parquet").read_bytes()
    store.put(ask(2, prompt_version="mine"), say())
    leaking = {"mine": "system: use sk-" + "a1" * 12, "unused": "sk-" + "b2" * 12}
    with pytest.raises(LabelError, match="prompt mine holds what looks like a key") as error:
        export_bundle(store, tmp_path / "b", prompts=leaking)
    assert "a1a1" not in str(error.value)
    assert (tmp_path / "b" / "labels.parquet").read_bytes() == before
    assert export_bundle(store, tmp_path / "b", prompts=leaking, allow_secrets=True).labels == 2


def test_a_bundle_comes_back_whole_and_nothing_is_asked_again(store, other, tmp_path):
    fill(store)
    store.missing([ask(2, "another context")])
    done = export_bundle(store, tmp_path / "bundle", licence="cc-by-4.0", title="Mine | yours")
    assert (done.labels, done.contexts) == (6, 7)
    report = import_bundle(other, tmp_path / "bundle")
    assert (report.new, report.conflicts) == (6, [])
    assert content(other) == content(store)
    assert other.uses() == store.uses()
    assert other.missing([ask(1, parameters={"temperature": 0, "stop": ["\n"]}), ask(2), ask(9)]) == [ask(9)]
    again = import_bundle(other, tmp_path / "bundle" / "labels.parquet")
    assert (again.new, again.sources[0].already) == (0, 6)
    assert content(other) == content(store)
    export_bundle(other, tmp_path / "second", licence="cc-by-4.0", title="Mine | yours")
    first, second = ((tmp_path / name / "README.md").read_text() for name in ("bundle", "second"))
    assert first == second


def test_the_card_says_who_made_the_labels_and_how(store, tmp_path):
    fill(store)
    store.put(ask(7, model="m|2\nlicense: mit"), say(model_id="served-m1"))
    export_bundle(store, tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    front, _, body = card.removeprefix("---\n").partition("---\n")
    assert "license: unknown\n" in front
    assert "mit" not in front
    assert "Licence: not stated" in body
    row = next(line for line in body.splitlines() if line.startswith("| llm | rewrite | m1 |"))
    assert [cell.strip() for cell in row.strip("|").split("|")][4:10] == ["p1", "", "1", "0", "1", "2"]
    assert "2025-01-02" in row
    assert "| judge | scores | m1 |  | p1 | logit |" in body
    assert "m\\|2 license: mit | served-m1" in body
    assert '{"stop":["\\n"],"temperature":0}' in body
    assert card.count("\n---\n") == 1
    export_bundle(store, tmp_path / "b", licence="cc0-1.0\nx: y", raw=False)
    card = (tmp_path / "b" / "README.md").read_text()
    assert "license: cc0-1.0x y\n" in card
    assert {row.label.raw for row in Bundle(tmp_path / "b")} == {""}


def test_a_part_of_a_store_can_be_exported(store, other, tmp_path):
    fill(store)
    assert export_bundle(store, tmp_path / "b", teacher="judge", kind="order").labels == 1
    import_bundle(other, tmp_path / "b")
    assert other.values("judge", "order") == {"c4": ["d2", "d1"]}
    with pytest.raises(LabelError, match="no label to export"):
        export_bundle(store, tmp_path / "none", teacher="nobody")
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        (ask(1, parameters={"extra": {"api_key": "x"}}), say()),
        (ask(1, parameters={"base_url": "https://me:pass@host/v1"}), say()),
        (ask(1), say("use sk-abcdefghijklmnopqrstuvwx please")),
        (ask(1), Label("rewrite", None, raw="Authorization: Bearer abcdefghijklmnop1234", status="malformed")),
    ],
)
def test_what_looks_like_a_secret_is_not_published(store, tmp_path, request_, label):
    store.put(request_, label)
    with pytest.raises(LabelError, match="looks like a key or password") as refused:
        export_bundle(store, tmp_path / "b")
    assert "abcdefg" not in str(refused.value)
    assert "pass@" not in str(refused.value)
    assert not (tmp_path / "b" / "labels.parquet").exists()
    assert export_bundle(store, tmp_path / "b", allow_secrets=True).labels == 1


def test_a_plain_parameter_is_no_secret(store, tmp_path):
    store.put(
        ask(1, parameters={"max_tokens": 64, "top_k": 3, "logit_bias": {}}), say("the secret of https://a/b:8@c?")
    )
    assert export_bundle(store, tmp_path / "b").labels == 1


def rewrite_column(folder, name, values):
    table = pq.read_table(folder / "labels.parquet")
    field = table.schema.field(name)
    changed = table.set_column(table.schema.names.index(name), field, pa.array(values, field.type))
    pq.write_table(changed, folder / "labels.parquet")


def test_bundles_that_were_tampered_with_or_damaged_are_refused(store, other, tmp_path):
    fill(store)
    folder = tmp_path / "b"

    def fresh():
        export_bundle(store, folder)
        return folder

    rewrite_column(fresh(), "model", ["m1", "m1", "m1", "m1", "m1", "better"])
    with pytest.raises(LabelError, match=r"row 6: the key .* is not that of its teacher"):
        import_bundle(other, folder)
    rewrite_column(fresh(), "value", ["{"] * 6)
    with pytest.raises(LabelError, match="row 1: parameters or value are not JSON"):
        import_bundle(other, folder)
    rewrite_column(fresh(), "value", ["null"] * 6)
    with pytest.raises(LabelError, match="row 1: a ok label whose value is None"):
        import_bundle(other, folder)
    rewrite_column(fresh(), "raw", [None] * 6)
    with pytest.raises(LabelError, match="'raw' is of the wrong type"):
        import_bundle(other, folder)
    whole = (fresh() / "labels.parquet").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4] + b"\0" * (len(whole) - 8) + whole[-4:], b""):
        (folder / "labels.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged or unreadable"):
            import_bundle(other, folder)
    pq.write_table(pa.table({"x": [1]}), folder / "labels.parquet")
    with pytest.raises(DataError, match="something else"):
        import_bundle(other, folder)
    newer = pq.read_schema(fresh() / "labels.parquet").with_metadata({"distillir": "labels", "distillir_version": "2"})
    pq.write_table(pq.read_table(folder / "labels.parquet").cast(newer), folder / "labels.parquet")
    with pytest.raises(DataError, match="another version → update distillir"):
        import_bundle(other, folder)
    with pytest.raises(DataError, match="no such file"):
        import_bundle(other, tmp_path / "nowhere")
    assert len(other) == 0


def test_of_two_answers_the_one_committed_first_stays(store, other, tmp_path):
    store.put(ask(1), say("mine"))
    other.put(ask(1), say("theirs"))
    other.put(ask(2), say("two"))
    for _ in range(2):
        report = merge(store, [other.path])
        assert [one.conflicts for one in report.sources] == [1]
        assert (report.conflicts[0].kept, report.conflicts[0].refused) == ('"mine"', '"theirs"')
    assert store.rewrites("llm") == {"c1": "mine", "c2": "two"}
    assert len(store.conflicts()) == 1
    assert store.conflicts()[0].origin == str(other.path)
    assert "answered otherwise" in report.text()
    assert 'c1: kept "mine", aside "theirs"' in report.text()


def test_the_label_that_counts_here_goes_on_to_count(store, other):
    store.put(ask(1, "c"), say("here"))
    other.put(ask(2, "c"), say("newer there"))
    other.put(ask(1, "d"), say("here"))
    other.put(ask(2, "d"), say("newer there"))
    other.missing([ask(1, "d")])
    merge(store, [other.path])
    assert store.rewrites("llm") == {"c": "here", "d": "here"}
    assert other.rewrites("llm")["d"] == "here"


def test_sources_of_all_forms_merge_and_strangers_are_refused(store, other, tmp_path):
    other.put(ask(1), say("one"))
    export_bundle(other, tmp_path / "bundle")
    with ShardWriter(tmp_path / "shards", "a/b") as a, ShardWriter(tmp_path / "shards", "a/b") as b:
        a.put(ask(2), say("two"))
        b.put_many([(ask(3), say("three")), (ask(2), say("two"))])
        a.put(ask(2, "c2 too"), say("two"))
    report = merge(store, [other.path, tmp_path / "bundle", tmp_path / "shards", a.path])
    assert [one.form for one in report.sources] == ["store", "bundle", "shard", "shard", "shard"]
    assert store.rewrites("llm") == {"c1": "one", "c2": "two", "c2 too": "two", "c3": "three"}
    assert merge(store, [tmp_path / "bundle" / "labels.parquet"]).new == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello\n")
    for source, match in ((store.path, "into itself"), (tmp_path / "empty", "neither"), (tmp_path / "none", "No such")):
        with pytest.raises(LabelError, match=match):
            merge(store, [source])
    with pytest.raises(DataError, match="not a label shard"):
        merge(store, [tmp_path / "text"])


def test_a_shard_comes_back_and_its_torn_end_is_counted(store, tmp_path):
    pairs = [(ask(i), say(f"r{i} ☃", tokens_in=3)) for i in range(3)]
    with ShardWriter(tmp_path, "w") as writer:
        writer.put_many(pairs)
    whole = writer.path.read_bytes()
    assert [row.label for row in Shard(writer.path)] == [label for _, label in pairs]
    assert shard_keys(tmp_path) == {request.key for request, _ in pairs}
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    near_ends = {end + step for end in ends for step in (-2, -1, 0, 1)} & set(range(len(whole)))
    for cut in sorted({*range(0, len(whole), 23), *near_ends}):
        writer.path.write_bytes(whole[:cut])
        shard = Shard(writer.path)
        complete = max(0, sum(end <= cut for end in ends) - 1)
        assert len(list(shard)) == complete
        assert shard.torn == (cut not in ends)
    writer.path.write_bytes(whole[: ends[2] + 9])
    report = merge(store, [tmp_path])
    assert (report.new, report.sources[0].torn) == (2, 1)
    assert "1 half-written record left out" in report.text()
    with pytest.raises(LabelError, match="is closed"):
        writer.put(*pairs[0])


def test_a_damaged_record_before_the_last_is_an_error(tmp_path):
    with ShardWriter(tmp_path, "w") as writer:
        writer.put_many([(ask(i), say()) for i in range(3)])
    content = bytearray(writer.path.read_bytes())
    content[len(content) // 2] ^= 1
    writer.path.write_bytes(content)
    with pytest.raises(DataError, match=r"jsonl:3: a damaged record → copy the shard"):
        list(Shard(writer.path))


def test_a_full_disk_ends_a_shard_and_keeps_what_was_acknowledged(tmp_path, monkeypatch):
    import errno
    import os

    writer = ShardWriter(tmp_path, "w")
    writer.put(ask(1), say("kept"))
    write = os.write

    def full(file, data):
        write(file, bytes(data)[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LabelError, match="No space left on device → free space"):
        writer.put(ask(2), say("lost"))
    monkeypatch.undo()
    with pytest.raises(LabelError, match="closed"):
        writer.put(ask(3), say("would be unreadable"))
    shard = Shard(writer.path)
    assert [row.label.value for row in shard] == ["kept"]
    assert shard.torn == 1


WORKER = textwrap.dedent("""
    import itertools, sys
    from distillir.labels import Label, LabelRequest, ShardWriter
    writer = ShardWriter(sys.argv[1], "killed")
    for i in itertools.count():
        request = LabelRequest("llm", "m1", "p1", ["q", i], context_id=f"c{i}")
        writer.put(request, Label("rewrite", f"r{i}", raw="x" * 3000))
        print(request.key, flush=True)
""")


def test_acknowledged_labels_of_a_killed_worker_are_merged(store, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
    ) as worker:
        acknowledged = [worker.stdout.readline().strip() for _ in range(30)]
        worker.kill()
        acknowledged += [line.strip() for line in worker.stdout if line.endswith("\n")]
    assert worker.returncode == -9
    report = merge(store, [tmp_path / "s"])
    assert len(acknowledged) <= report.new <= len(acknowledged) + 1
    assert [store.get(key).value for key in acknowledged] == [f"r{i}" for i in range(len(acknowledged))]
    assert store.missing([ask(i) for i in range(len(acknowledged))]) == []


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
labels = st.one_of(
    st.builds(Label, st.just("rewrite"), texts.filter(str.strip), texts, created=st.just("2025")),
    st.builds(Label, st.just("scores"), st.dictionaries(texts, st.floats(-9, 9) | st.integers(), min_size=1), texts),
    st.builds(Label, st.just("order"), st.lists(texts, min_size=1, max_size=3, unique=True), reason=texts),
    st.builds(Label, st.just("response"), st.none(), texts, st.just("malformed"), attempts=st.integers(0, 9)),
)
parameters = st.dictionaries(st.text("abc", max_size=2), st.integers() | st.floats(-1, 1) | texts, max_size=2)
pairs = st.lists(st.tuples(texts, parameters, labels), min_size=1, max_size=5, unique_by=lambda one: json.dumps(one[0]))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=pairs)
def test_any_labels_travel_and_travel_twice(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("travel")
    asked = [(ask(0, context, input=context, parameters=how), label) for context, how, label in pairs]
    with LabelStore(folder / "a.db") as a, LabelStore(folder / "b.db") as b, LabelStore(folder / "c.db") as c:
        a.put_many(asked)
        export_bundle(a, folder / "bundle", allow_secrets=True)
        with ShardWriter(folder / "shards", "w") as writer:
            writer.put_many(asked)
        for _ in range(2):
            import_bundle(b, folder / "bundle")
            merge(c, [folder / "shards", folder / "bundle"])
            assert content(b) == content(a)
            assert b.uses() == a.uses()
            assert [row[:3] for row in content(c)] == [row[:3] for row in content(a)]
            assert c.conflicts() == []
        assert a.known(request.key for request, _ in asked) == {request.key for request, _ in asked}
