"""Bulk files: by hand, whole or absent, within a request's size, and refusing what an engine would."""

import gzip
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from distillir.data import Corpus, Document
from distillir.engines import HTTP_LIMIT, bulk_rows, dimension_names, prune_rows, write_bulk
from distillir.errors import ConfigError, DataError, SearchIndexError
from distillir.vectors import CSR, SparseVectors, SparseVectorsWriter, csr_from_rows

VOCABULARY = ["river", "u.s.", "##s", "%", '"', "[unused12]", "é", None, "river"]
ROWS = [([0, 1], [1.1, 0.5]), ([], []), ([2, 3, 4, 5, 6], [1e-6, 2.0, 3.0, 1e20, 1.999])]
DOCUMENTS = [
    Document("a", "first text", "Title", metadata={"year": 2024, "tags": ["x", "y"], "none": None}),
    Document("b", 'second "text"\nof two lines', group="g"),
    Document("ü/3", "third", metadata={"nested": {"x": 1}}),
]


def terms(indices):
    return [VOCABULARY[i] for i in indices]


def store(folder, rows, ids=("a", "b", "ü/3")):
    dim = len(VOCABULARY)
    with SparseVectorsWriter(folder, dim, "float32") as writer:
        writer.append(list(ids)[: len(rows)], csr_from_rows(rows, dim))
    return SparseVectors.open(folder)


@pytest.fixture
def vectors(tmp_path):
    return store(tmp_path / "vectors", ROWS)


@pytest.fixture
def corpus(tmp_path):
    return Corpus.build(DOCUMENTS, tmp_path / "corpus.arrow")


def read(path):
    lines = path.read_text(encoding="utf-8")
    assert lines.endswith("\n")
    rows = [json.loads(line) for line in lines.splitlines()]
    return list(zip(rows[::2], rows[1::2], strict=True))


def test_by_hand(vectors, corpus, tmp_path):
    rows = bulk_rows(vectors, terms, corpus=corpus, field="emb", fields=["year", "tags", "none", "group"])
    written = write_bulk(tmp_path / "out.ndjson", rows)
    assert read(tmp_path / "out.ndjson") == [
        (
            {"index": {"_id": "a"}},
            {
                "id": "a",
                "title": "Title",
                "text": "first text",
                "year": 2024,
                "tags": ["x", "y"],
                "emb": {"river": 1.1, "u%2Es%2E": 0.5},
            },
        ),
        ({"index": {"_id": "b"}}, {"id": "b", "text": 'second "text"\nof two lines', "group": "g", "emb": {}}),
        (
            {"index": {"_id": "ü/3"}},
            {"id": "ü/3", "text": "third", "emb": {"##s": 1e-6, "%25": 2, '"': 3, "[unused12]": 1e20, "é": 1.999}},
        ),
    ]
    assert written.files == (tmp_path / "out.ndjson",)
    assert (written.documents, written.empty, written.terms) == (3, 1, 7)
    assert written.bytes == (tmp_path / "out.ndjson").stat().st_size


def test_without_a_corpus_and_with_an_index(vectors, tmp_path):
    write_bulk(tmp_path / "out.ndjson", bulk_rows(vectors, dimension_names, index="docs"))
    assert read(tmp_path / "out.ndjson")[0] == (
        {"index": {"_index": "docs", "_id": "a"}},
        {"id": "a", "vector": {"0": 1.1, "1": 0.5}},
    )


def test_gzip_holds_the_same_and_is_the_same_every_time(vectors, tmp_path):
    for name in ("plain.ndjson", "one.ndjson.gz", "two.ndjson.gz"):
        write_bulk(tmp_path / name, bulk_rows(vectors, terms))
    plain = (tmp_path / "plain.ndjson").read_bytes()
    assert gzip.decompress((tmp_path / "one.ndjson.gz").read_bytes()) == plain
    assert (tmp_path / "one.ndjson.gz").read_bytes() == (tmp_path / "two.ndjson.gz").read_bytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parts_fit_and_hold_everything(vectors, tmp_path, suffix):
    whole = b"".join(row.lines for row in bulk_rows(vectors, terms))
    largest = max(len(row.lines) for row in bulk_rows(vectors, terms))
    out = tmp_path / f"parts{suffix}"
    written = write_bulk(out, bulk_rows(vectors, terms), max_bytes=largest)
    assert [file.name for file in written.files] == [
        f"{i:05d}.ndjson{suffix}" for i in range(1, len(written.files) + 1)
    ]
    assert sorted(out.iterdir()) == sorted(written.files)
    parts = [gzip.decompress(f.read_bytes()) if suffix else f.read_bytes() for f in written.files]
    assert b"".join(parts) == whole
    assert len(parts) > 1
    assert max(map(len, parts)) <= largest
    assert all(part.count(b"\n") % 2 == 0 for part in parts)
    one = write_bulk(tmp_path / "one", bulk_rows(vectors, terms), max_bytes=HTTP_LIMIT)
    assert len(one.files) == 1


def test_a_document_larger_than_a_part_leaves_nothing(vectors, tmp_path):
    with pytest.raises(SearchIndexError, match="'a' takes"):
        write_bulk(tmp_path / "parts", bulk_rows(vectors, terms), max_bytes=60)
    assert [path.name for path in tmp_path.iterdir()] == ["vectors"]
    with pytest.raises(ConfigError, match="max_bytes is 0"):
        write_bulk(tmp_path / "parts", [], max_bytes=0)


def test_places_that_are_taken(vectors, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="not an empty folder"):
        write_bulk(tmp_path / "full", bulk_rows(vectors, terms), max_bytes=1000)
    with pytest.raises(DataError, match="is a folder"):
        write_bulk(tmp_path / "full", bulk_rows(vectors, terms))
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    assert write_bulk(tmp_path / "empty", bulk_rows(vectors, terms), max_bytes=1000).documents == 3


def test_progress_ends_at_the_total(vectors, tmp_path):
    seen = []
    write_bulk(
        tmp_path / "out", bulk_rows(vectors, terms), total=3, watch=lambda done, total: seen.append((done, total))
    )
    assert seen == [(3, 3)]


def test_pruned_vectors(vectors, tmp_path):
    rows = bulk_rows(vectors, terms, prune=partial(prune_rows, top=1))
    write_bulk(tmp_path / "out", rows)
    assert [source["vector"] for _, source in read(tmp_path / "out")] == [{"river": 1.1}, {}, {"[unused12]": 1e20}]


@pytest.mark.parametrize(("weight", "kept"), [(0.0, {}), (1e-39, {}), (1.17549435e-38, {"river": 1.1754944e-38})])
def test_weights_that_say_nothing_are_left_out(vectors, tmp_path, weight, kept):
    def to_weight(rows):
        return CSR(rows.indptr, rows.indices, np.where(rows.indices == 0, weight, 0).astype(np.float32))

    write_bulk(tmp_path / "out", bulk_rows(vectors, terms, prune=to_weight))
    assert read(tmp_path / "out")[0][1]["vector"] == kept


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_weights_that_engines_refuse_name_the_document(vectors, weight):
    def broken(rows):
        return CSR(rows.indptr, rows.indices, np.where(rows.indices == 4, weight, rows.values).astype(np.float32))

    with pytest.raises(SearchIndexError, match="'ü/3'"):
        list(bulk_rows(vectors, terms, prune=broken))


@pytest.mark.parametrize(
    ("row", "message"), [([7], "dimension 7 has no term"), ([0, 8], "dimensions 0 and 8 are both called 'river'")]
)
def test_vocabularies_with_gaps_and_twins(tmp_path, row, message):
    found = store(tmp_path / "v", [(row, [1.0] * len(row))])
    with pytest.raises(SearchIndexError, match=message):
        list(bulk_rows(found, terms))
    assert json.loads(next(bulk_rows(found, dimension_names)).lines.splitlines()[1])["vector"] == {
        str(i): 1.0 for i in row
    }


def test_ids_longer_than_an_engine_takes(tmp_path):
    list(bulk_rows(store(tmp_path / "fits", ROWS[:1], ids=["é" * 256]), terms))
    with pytest.raises(SearchIndexError, match="514 bytes"):
        list(bulk_rows(store(tmp_path / "long", ROWS[:1], ids=["é" * 257]), terms))


def test_payloads_that_cannot_be_indexed(vectors, corpus, tmp_path):
    with pytest.raises(SearchIndexError, match="'nested' of document 'ü/3'"):
        write_bulk(tmp_path / "out", bulk_rows(vectors, terms, corpus=corpus, fields=["nested"]))
    assert not (tmp_path / "out").exists()
    for broken in (Document("a", "half \ud83d"), Document("a", "text", metadata={"x": float("nan")})):
        with pytest.raises(SearchIndexError, match="'a' cannot be written as JSON"):
            list(bulk_rows(vectors, terms, corpus={"a": broken}, fields=["x"]))


def test_a_corpus_of_other_documents(vectors, tmp_path):
    other = Corpus.build([Document("a", "text")], tmp_path / "other.arrow")
    with pytest.raises(DataError, match="no document 'b'"):
        list(bulk_rows(vectors, terms, corpus=other))


def test_a_full_disk_leaves_the_old_file(vectors, tmp_path, monkeypatch):
    out = tmp_path / "out.ndjson"
    out.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_bulk(out, bulk_rows(vectors, terms))
    with pytest.raises(DataError, match="No space left"):
        write_bulk(tmp_path / "parts", bulk_rows(vectors, terms), max_bytes=1000)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ndjson", "vectors"]


@pytest.mark.parametrize("max_bytes", [0, 5000])
def test_a_killed_export_leaves_no_file_of_that_name(vectors, tmp_path, max_bytes):
    command = [sys.executable, str(Path(__file__).with_name("export_run.py")), str(vectors.path), str(tmp_path / "out")]
    with subprocess.Popen([*command, str(max_bytes)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "out").exists()
    assert write_bulk(tmp_path / "out", bulk_rows(vectors, terms), max_bytes=max_bytes or None).documents == 3
    if max_bytes:
        assert not (tmp_path / ".tmp-out").exists()
