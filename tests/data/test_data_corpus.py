import datetime
import gzip
import json
import os
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillir.data import Corpus, Document, corpus_file, open_or_build
from distillir.errors import DataError

THREE = [
    {"_id": "d1", "title": "Cats", "text": "They purr.", "url": "http://a", "n": 1},
    {"_id": "d2", "title": "", "text": "No title."},
    {"_id": "d3", "text": "Grüße 日本", "group": "g"},
]
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(tmp_path, source):
    target = tmp_path / "refused.arrow"
    with pytest.raises(DataError) as caught:
        Corpus.build(source, target)
    assert not target.exists()
    return caught.value


def check_three(corpus):
    assert len(corpus) == 3
    assert corpus.ids == ["d1", "d2", "d3"]
    assert [corpus.text(i) for i in range(3)] == ["Cats They purr.", "No title.", "Grüße 日本"]
    assert [document.contents for document in corpus] == [corpus.text(i) for i in range(3)]
    assert corpus["d1"] == Document("d1", "They purr.", "Cats", "", {"url": "http://a", "n": 1})
    assert corpus.group(2) == "g"
    assert corpus.groups().tolist() == ["", "", "g"]
    position = corpus.position(["d3", "d1", "d3"])
    assert position.dtype == np.int64
    assert position.tolist() == [2, 0, 2]
    assert "d2" in corpus
    assert "d4" not in corpus


def test_jsonl_gzipped_jsonl_and_iterables_give_the_same_corpus(tmp_path):
    plain = write(tmp_path / "corpus.jsonl", THREE)
    packed = tmp_path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    check_three(Corpus.build(plain, tmp_path / "a.arrow"))
    check_three(Corpus.build(packed, tmp_path / "b.arrow"))
    check_three(Corpus.build(iter(THREE), tmp_path / "c.arrow"))
    check_three(Corpus.build(list(Corpus.open(tmp_path / "c.arrow")), tmp_path / "d.arrow"))
    check_three(Corpus.open(tmp_path / "d.arrow"))


def test_parquet_with_number_ids_dates_and_nulls(tmp_path):
    path = tmp_path / "corpus.parquet"
    day = datetime.date(2024, 2, 29)
    columns = {"id": [7, 8], "title": [None, "T"], "text": ["a", "b"], "day": [day, None]}
    pq.write_table(pa.table(columns), path)
    corpus = Corpus.build(path, tmp_path / "a.arrow")
    assert list(corpus) == [
        Document("7", "a", "", "", {"day": "2024-02-29"}),
        Document("8", "b", "T", "", {"day": None}),
    ]


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        ([THREE[0], THREE[1], THREE[0]], 3, "id 'd1' is already on line 1"),
        ([{"_id": "a", "title": "no text"}], 1, "missing field 'text'"),
        ([THREE[0], {"text": "no id"}], 2, "missing field '_id'"),
        ([{"_id": "a", "text": 5}], 1, "'text' is int, not a string"),
        ([{"_id": "a", "text": None}], 1, "'text' is NoneType, not a string"),
        ([{"_id": "a", "text": "t", "title": ["x"]}], 1, "'title' is list, not a string"),
        ([{"_id": " ", "text": "t"}], 1, "'_id' is ' '"),
        ([{"_id": True, "text": "t"}], 1, "'_id' is True"),
        ([{"_id": 1.5, "text": "t"}], 1, "'_id' is 1.5"),
    ],
)
def test_bad_rows_are_refused_with_file_line_and_reason(tmp_path, rows, line, reason):
    path = write(tmp_path / "corpus.jsonl", rows)
    error = refused(tmp_path, path)
    assert (error.path, error.line) == (path, line)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text alone", "a str, not a Document"),
        (Document("a", "\ud800"), "half a character"),
        (Document("a", "t", metadata={"x": {1}}), "not JSON"),
        (Document("a", "t", metadata={"x": float("nan")}), "not JSON"),
    ],
)
def test_bad_items_of_an_iterable_are_refused_with_their_number(tmp_path, item, reason):
    error = refused(tmp_path, [Document("ok", "fine"), item])
    assert reason in error.reason
    assert error.line == 2


def test_empty_truncated_and_binary_sources_are_refused(tmp_path):
    empty, cut, binary = tmp_path / "e.jsonl", tmp_path / "t.jsonl.gz", tmp_path / "b.jsonl"
    empty.write_text("")
    cut.write_bytes(gzip.compress(b'{"_id": "a", "text": "b"}\n' * 3)[:-9])
    binary.write_bytes(b"\x7fELF\0\0\0")
    assert "empty" in refused(tmp_path, empty).reason
    assert "truncated" in refused(tmp_path, cut).reason
    assert "binary" in refused(tmp_path, binary).reason
    assert "no documents" in refused(tmp_path, []).reason


def test_broken_parquet_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but not really")
    assert "Parquet" in refused(tmp_path, path).reason
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), path)
    assert "empty" in refused(tmp_path, path).reason
    assert "no such file" in refused(tmp_path, tmp_path / "none.parquet").reason


def test_a_failed_build_keeps_the_old_corpus(tmp_path):
    path = tmp_path / "a.arrow"
    Corpus.build(THREE, path)
    with pytest.raises(DataError):
        Corpus.build([THREE[0], THREE[0]], path)
    check_three(Corpus.open(path))
    assert [p.name for p in tmp_path.iterdir()] == ["a.arrow"]


def test_a_full_disk_is_a_data_error(tmp_path):
    # A limit on the size of files stands in for a full disk: writes fail midway, as there.
    code = textwrap.dedent("""
        import resource, signal, sys
        from distillir.data import Corpus, Document, write_run
        from distillir.errors import DataError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for write in (
            lambda path: Corpus.build((Document(str(i), "x" * 1000) for i in range(20_000)), path),
            lambda path: write_run(path, {"q": {str(i): 1.0 for i in range(20_000)}}),
        ):
            try:
                write(sys.argv[1])
            except DataError as error:
                print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.count("cannot be written: ") == 2, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_corpus_is_refused(tmp_path):
    path = tmp_path / "a.arrow"
    with pytest.raises(DataError, match="no such file"):
        Corpus.open(path)
    Corpus.build(THREE, path)
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[:-20], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="not a readable corpus file"):
            Corpus.open(path)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema({"x": pa.int64()})):
        pass
    with pytest.raises(DataError, match="not a corpus's"):
        Corpus.open(path)


def test_unknown_ids_and_positions_are_refused(tmp_path):
    corpus = Corpus.build(THREE, tmp_path / "a.arrow")
    with pytest.raises(DataError, match="no document 'zz'"):
        corpus.position(["d1", "zz"])
    with pytest.raises(DataError, match="no document 'zz'"):
        corpus["zz"]
    for i in (-1, 3):
        with pytest.raises(IndexError):
            corpus.text(i)


def test_ids_with_one_hash_are_told_apart(tmp_path, monkeypatch):
    # Two strings with one hash cannot be had at will, so every string gets the same.
    import distillir.data.corpus as corpus_module

    monkeypatch.setattr(corpus_file, "hash", lambda _: 7, raising=False)
    monkeypatch.setattr(corpus_module, "hash", lambda _: 7, raising=False)
    check_three(Corpus.build(THREE, tmp_path / "a.arrow"))
    assert "already on line 2" in refused(tmp_path, [*THREE, THREE[1]]).reason


def test_concat_puts_corpora_one_after_the_other(tmp_path):
    a = Corpus.build(THREE[:2], tmp_path / "a.arrow")
    b = Corpus.build(THREE[2:], tmp_path / "b.arrow")
    check_three(Corpus.concat([a, b]))
    assert Corpus.concat([a]) is a
    with pytest.raises(DataError, match=r"id 'd2' is also in .*a\.arrow"):
        Corpus.concat([a, b, Corpus.build([THREE[1]], tmp_path / "c.arrow")])
    with pytest.raises(DataError, match="none"):
        Corpus.concat([])


def test_open_or_build_follows_its_source(tmp_path):
    source, path = write(tmp_path / "c.jsonl", THREE[:1]), tmp_path / "c.arrow"
    assert open_or_build(source, path).ids == ["d1"]
    written = path.stat()
    open_or_build(source, path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
    write(source, THREE)
    os.utime(source, ns=(0, 0))  # another version of the data may well be older
    check_three(open_or_build(source, path))
    source.unlink()
    check_three(open_or_build(source, path))
    with pytest.raises(DataError, match=r"c\.jsonl: no such file"):
        open_or_build(source, tmp_path / "other.arrow")


def test_building_and_iterating_hold_a_batch_not_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_file, "BATCH_BYTES", 200_000)
    text = "x" * 10_000
    tracemalloc.start()
    corpus = Corpus.build((Document(str(i), text) for i in range(3000)), tmp_path / "a.arrow")
    total = sum(len(document.text) for document in corpus)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 30_000_000
    assert peak < 6_000_000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Document,
            id=names.filter(lambda name: name.strip() != ""),
            text=names,
            title=names,
            group=names,
            metadata=st.dictionaries(
                names.filter(lambda k: k not in ("_id", "title", "text", "group")), names, max_size=2
            ),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda document: document.id,
    )
)
def test_any_documents_come_back(tmp_path, documents):
    corpus = Corpus.build(documents, tmp_path / "any.arrow")
    assert list(corpus) == documents
    ids = [document.id for document in documents]
    assert corpus.position(ids[::-1]).tolist() == list(range(len(ids)))[::-1]
