"""Five lines on the user's own documents: found without training, kept, changed, killed, closed."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import documents_run
import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Document
from distillir.errors import ConfigError, DataError, ModelError, SearchIndexError
from distillir.search import documents
from distillir.search.documents import open_documents
from distillir.students import SparseSettings, SparseStudent, resolve
from distillir.vectors import SparseVectors

TEXTS = {
    "otter.md": "# Otter\n\n## Food\n\nThe otter eats fish and crabs.\n\n## Home\n\nThe otter lives in rivers.\n",
    "falcon.txt": "The falcon is the fastest bird and hunts in the air.",
    "whale.html": "<title>Whale</title><h1>Whale</h1><p>The whale is the largest animal of the ocean.</p>",
    "tiger.rst": "Tiger\n=====\n\nThe tiger sleeps in the forest.\n",
}


def user(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def students():
    return documents._students(None, None, None)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, students, request):
    """The default model is loaded once for all tests that ask for nothing else."""
    real = documents._students

    def load(model, settings, document_model):
        return (
            students
            if (model, settings, document_model) == (None, None, None)
            else real(model, settings, document_model)
        )

    monkeypatch.setattr(documents, "_students", load)


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def encoded(monkeypatch):
    """The texts that went through the encoder."""
    seen = []
    real = SparseStudent.encode_documents

    def watched(self, texts, *more):
        seen.extend(texts)
        return real(self, texts, *more)

    monkeypatch.setattr(SparseStudent, "encode_documents", watched)
    return seen


def opened(source, **options):
    return open_documents(source, quiet=True, **options)


def test_five_lines(docs):
    with opened(docs) as retriever:
        hits = retriever.retrieve(user("what does the otter eat"), k=5)
        assert (hits[0].id, hits[0].title) == ("otter.md#1", "Otter > Food")
        assert hits[0].text == "The otter eats fish and crabs."
        assert hits[0].score > 0
        assert retriever.retrieve(user("what is the otter", "An animal.", "where does it live"))[0].id == "otter.md#2"
        assert retriever.retrieve(user("the animal"), where={"source": "whale.html"})[0].title == "Whale"
        report = retriever.report
    assert (report.passages, report.encoded, report.reused, report.repeated) == (5, 5, 0, 0)
    assert report.reading.files == {"markdown": 1, "text": 2, "html": 1}
    assert "5 encoded, 0 vectors reused" in str(report)


def test_the_gate_is_on_for_questions_and_documents_are_the_plain_encoders(docs, students):
    student, encoder = students
    assert student.settings == SparseSettings()
    assert student.settings.gate
    assert encoder.settings.plain
    assert student.model is encoder.model
    plain = SparseStudent.from_pretrained(resolve("splade-tiny"), SparseSettings(gate=False))
    with opened(docs) as retriever:
        stored = retriever.index.vectors(["otter.md#1", "falcon.txt#1"])
        wanted = plain.encode_documents(
            ["Otter > Food The otter eats fish and crabs.", f"falcon {TEXTS['falcon.txt']}"]
        )
        for i in range(2):
            np.testing.assert_array_equal(stored.row(i)[0], wanted.row(i)[0])
            np.testing.assert_allclose(stored.row(i)[1], wanted.row(i)[1], rtol=2e-3)
        messages = user("what is the otter", "An animal.", "where does it live")
        gated = student.encode_queries([Conversation.from_messages(messages)])
        np.testing.assert_array_equal(
            retriever.queries([Conversation.from_messages(messages)])[0].values, gated.row(0)[1]
        )
        assert not np.array_equal(gated.indices, plain.encode_queries([Conversation.from_messages(messages)]).indices)


@pytest.mark.parametrize("engine", ["exact", "qdrant_edge", "seismic"])
def test_every_engine_in_the_folder_finds_the_same(docs, tmp_path, engine):
    with opened(docs, engine=engine, folder=tmp_path / "kept") as retriever:
        hits = retriever.retrieve(user("which bird is fast"), k=3)
        assert hits[0].id == "falcon.txt#1"
    with opened(docs, engine=engine, folder=tmp_path / "kept") as retriever:
        assert retriever.report.encoded == 0
        assert retriever.retrieve(user("which bird is fast"), k=3) == hits


def test_an_engine_elsewhere_is_refused_with_what_it_needs(docs, tmp_path):
    with pytest.raises(ConfigError, match="engine qdrant: no collection is named"):
        opened(docs, engine="qdrant", folder=tmp_path / "kept")


# What a source may be


def test_texts(encoded):
    long = " ".join(f"Sentence number {i} is about rivers and fish." for i in range(60))
    with opened(["The falcon is a bird.", " ", long, "The whale is large."]) as retriever:
        ids = list(retriever.corpus.ids)
        assert retriever.retrieve(user("which bird"))[0].id == "0"
        assert retriever.corpus["2#2"].group == "2"
    assert ids == ["0", "2#1", "2#2", "2#3", "3"]
    assert retriever.report.reading.named == [("text 1", "an empty text")]
    assert len(encoded) == 5


def test_documents_and_mappings_and_any_iterable():
    given = (
        item
        for item in [
            Document("a", "The falcon is a bird.", "Falcon", metadata={"lang": "en"}),
            {"_id": "b", "text": "The whale is large.", "title": "Whale", "lang": "de"},
            {"text": "word " * 200},
        ]
    )
    with opened(given) as retriever:
        assert list(retriever.corpus.ids) == ["a", "b", "2"]
        assert retriever.retrieve(user("the bird"))[0].title == "Falcon"
        assert [h.id for h in retriever.retrieve(user("the large whale bird"), where={"lang": "de"})] == ["b"]
    assert retriever.report.reading.named == [("2", "longer than a passage: only its beginning is encoded")]


def test_a_file_of_rows_keeps_its_ids(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "x", "text": "The falcon is a bird."}\n')
    with opened(tmp_path / "corpus.jsonl") as retriever:
        assert retriever.retrieve(user("the bird"))[0].id == "x"


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (
            "no/such/folder",
            "no/such/folder: no such file or folder → check the path; texts themselves are given as a list",
        ),
        ("The falcon is a bird. " * 300, "The falcon is a bird. .*…: no such file or folder"),
        ([], "there are no documents"),
        (["", " "], "there are no documents"),
        ([3], "a int, not a Document or a mapping"),
        ([{"title": "no text"}], "missing field 'text'"),
        ({"text": "alone"}, "a dict alone → give a list"),
        (None, "a NoneType alone"),
    ],
)
def test_sources_that_are_none(source, match):
    with pytest.raises(DataError, match=match):
        opened(source)


def test_mistakes_are_named(docs, tmp_path):
    with pytest.raises(ConfigError, match="no search engine is called 'lucene'"):
        opened(docs, engine="lucene")
    with pytest.raises(ConfigError, match="words is 3"):
        opened(docs, words=3)
    with pytest.raises(SearchIndexError, match="holds something else than encoded documents → name a new or an empty"):
        opened(docs, folder=docs)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SearchIndexError, match="holds something else"):
        opened(docs, folder=tmp_path / "file")
    assert sorted(p.name for p in docs.iterdir()) == sorted(TEXTS)


def test_a_trained_student_needs_the_model_of_its_documents(docs, students, tmp_path):
    students[0].save(tmp_path / "student")
    with pytest.raises(ModelError, match="encodes questions, not documents → name the model it was distilled against"):
        opened(docs, model=tmp_path / "student")
    with opened(docs, model=tmp_path / "student", document_model="splade-tiny") as trained, opened(docs) as untrained:
        assert trained.retrieve(user("which bird is fast")) == untrained.retrieve(user("which bird is fast"))


# A folder that is kept


def test_an_unchanged_folder_is_neither_read_nor_encoded_again(docs, tmp_path, encoded, monkeypatch):
    with opened(docs, folder=tmp_path / "kept") as retriever:
        hits = retriever.retrieve(user("which bird is fast"))
    encoded.clear()
    monkeypatch.setattr("distillir.search.sources.read_folder", lambda *_, **__: pytest.fail("read again"))
    with opened(docs, folder=tmp_path / "kept") as retriever:
        assert retriever.retrieve(user("which bird is fast")) == hits
        assert (retriever.report.encoded, retriever.report.reused) == (0, 5)
        assert retriever.report.reading.files.total() == 4
    assert encoded == []


def test_only_new_and_changed_texts_are_encoded(docs, tmp_path, encoded):
    opened(docs, folder=tmp_path / "kept").close()
    encoded.clear()
    (docs / "falcon.txt").write_text("The falcon nests on cliffs and towers.")  # the same id, another text
    (docs / "whale.html").unlink()
    (docs / "zebra.md").write_text("The zebra has stripes.")
    (docs / "a.rst").write_text(TEXTS["tiger.rst"])  # the same text under another name: a repeat
    with opened(docs, folder=tmp_path / "kept") as retriever:
        report = retriever.report
        assert (report.passages, report.encoded, report.reused, report.repeated) == (6, 2, 3, 1)
        assert (
            retriever.retrieve(user("where does the falcon nest"))[0].text == "The falcon nests on cliffs and towers."
        )
        assert all("whale" not in hit.id for hit in retriever.retrieve(user("whale of the ocean"), k=10))
        changed = retriever.index.vectors(["falcon.txt#1", "a.rst#1", "tiger.rst#1"])
    assert sorted(encoded) == ["falcon The falcon nests on cliffs and towers.", "zebra The zebra has stripes."]
    plain = documents._students(None, None, None)[1].encode_documents(["falcon The falcon nests on cliffs and towers."])
    np.testing.assert_array_equal(changed.row(0)[0], plain.row(0)[0])
    np.testing.assert_array_equal(changed.row(1)[1], changed.row(2)[1])
    kept = [p for p in (tmp_path / "kept").iterdir() if p.is_dir()]
    assert len(kept) == 1  # the old generation is gone


def test_another_model_or_length_reuses_nothing_and_another_engine_everything(docs, tmp_path):
    opened(docs, folder=tmp_path / "kept").close()
    with opened(docs, folder=tmp_path / "kept", engine="qdrant_edge") as retriever:
        assert (retriever.report.encoded, retriever.report.reused) == (0, 5)
    with opened(docs, folder=tmp_path / "kept", settings=SparseSettings(document_length=8)) as retriever:
        assert (retriever.report.encoded, retriever.report.reused) == (5, 0)


def test_equal_hashes_of_other_texts_share_no_vector(docs, tmp_path, monkeypatch):
    from distillir.search import reuse

    monkeypatch.setattr(reuse, "text_keys", lambda corpus: np.zeros(len(corpus), np.uint64))
    opened(docs, folder=tmp_path / "kept").close()
    (docs / "falcon.txt").write_text("The falcon nests on cliffs.")
    with opened(docs, folder=tmp_path / "kept") as retriever:
        assert (retriever.report.encoded, retriever.report.reused, retriever.report.repeated) == (1, 4, 0)
        alone = documents._students(None, None, None)[1].encode_documents([retriever.corpus.text(i) for i in range(5)])
        stored = retriever.index.vectors(list(retriever.corpus.ids))
    for i in range(5):
        np.testing.assert_array_equal(stored.row(i)[0], alone.row(i)[0])


def test_who_searches_keeps_what_they_search(docs, tmp_path):
    with opened(docs, folder=tmp_path / "kept") as old:
        (docs / "falcon.txt").unlink()
        with opened(docs, folder=tmp_path / "kept") as new:
            assert old.retrieve(user("which bird is fast"))[0].id == "falcon.txt#1"
            assert all(hit.id != "falcon.txt#1" for hit in new.retrieve(user("which bird is fast")))
    (docs / "zebra.md").write_text("The zebra has stripes.")
    opened(docs, folder=tmp_path / "kept").close()
    assert sum(p.is_dir() for p in (tmp_path / "kept").iterdir()) == 1


def test_a_kept_folder_inside_the_documents_is_not_read(docs):
    opened(docs, folder=docs / "index").close()
    with opened(docs, folder=docs / "index") as retriever:
        assert (retriever.report.encoded, retriever.report.passages) == (0, 5)


@pytest.mark.slow
def test_kills_cost_nothing_that_was_encoded(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for i in range(24):
        (docs / f"{i:03d}.txt").write_text(f"Note number {i} is about the {('otter', 'falcon', 'whale')[i % 3]}.")
    places = ["reading", "2", "1", "index", "ready", "saved", "sweep"]
    done = subprocess.run(
        [sys.executable, documents_run.__file__, str(docs), str(tmp_path / "cut"), *places],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for place in places for word in (place, "True")]
    with opened(docs, folder=tmp_path / "cut") as cut, opened(docs, folder=tmp_path / "whole") as whole:
        assert (cut.report.encoded, cut.report.reused) == (0, 24)
        ids = list(whole.corpus.ids)
        assert list(cut.corpus.ids) == ids
        a, b = cut.index.vectors(ids), whole.index.vectors(ids)
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_allclose(a.values, b.values, rtol=2e-3)
        assert cut.retrieve(user("note about the whale")) == whole.retrieve(user("note about the whale"))


def test_what_was_encoded_before_a_stop_serves_documents_that_changed_since(docs, tmp_path, monkeypatch):
    monkeypatch.setattr("distillir.search.reuse.GROUP", 2)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(docs, folder=tmp_path / "kept", watch=stop)
    (docs / "falcon.txt").write_text("The falcon nests on cliffs.")
    with opened(docs, folder=tmp_path / "kept") as retriever:
        assert (retriever.report.encoded, retriever.report.reused) == (2, 3)
        assert retriever.retrieve(user("falcon"))[0].text == "The falcon nests on cliffs."


# Letting go


def folder_of(retriever) -> Path:
    return retriever.corpus.path.parent.parent


def test_a_temporary_folder_goes_with_close_or_with_the_retriever(docs):
    retriever = opened(docs)
    folder = folder_of(retriever)
    assert folder.is_dir()
    retriever.close()
    retriever.close()
    assert not folder.exists()
    with pytest.raises(SearchIndexError, match="closed"):
        retriever.retrieve(user("otter"))
    retriever = opened(docs)
    folder = folder_of(retriever)
    del retriever
    gc.collect()
    assert not folder.exists()


def test_a_temporary_folder_goes_when_the_process_ends_or_fails(docs, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    program = (
        "import sys; from distillir.search.documents import open_documents\n"
        f"kept = open_documents({str(docs)!r}, quiet=True)\n"
        "print(kept.retrieve([{'role': 'user', 'content': 'which bird is fast'}])[0].id)\n"
        "try:\n    open_documents([3])\nexcept Exception as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["falcon.txt#1", "DataError"], done.stderr
    assert done.stderr == ""
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_kept_folder_stays_and_holds_plain_parts(docs, tmp_path):
    opened(docs, folder=tmp_path / "kept").close()
    (generation,) = [p for p in (tmp_path / "kept").iterdir() if p.is_dir()]
    vectors = SparseVectors.open(generation / "vectors")
    assert list(vectors.ids) == ["falcon.txt#1", "otter.md#1", "otter.md#2", "tiger.rst#1", "whale.html#1"]
    assert json.loads((tmp_path / "kept" / "documents.json").read_text())["generation"] == generation.name


# What is said


def test_what_is_said(docs, capsys, monkeypatch):
    (docs / "picture.md").write_bytes(b"\0")
    open_documents(docs).close()
    said = capsys.readouterr()
    assert said.out == ""
    assert "5 passages of 4 files" in said.err
    assert "1 skipped (1 a binary file, not text); 5 encoded" in said.err
    monkeypatch.setattr("distillir.search.reuse.GROUP", 2)
    monkeypatch.setattr("distillir.search.waiting.EVERY", 0.0)
    open_documents(docs).close()
    assert "encoding: 2 of 5, " in (err := capsys.readouterr().err)
    assert "passages/s" in err
    opened(docs).close()
    assert capsys.readouterr() == ("", "")


def test_a_watcher_takes_the_place_of_the_bar(docs, monkeypatch):
    monkeypatch.setattr("distillir.search.reuse.GROUP", 2)
    seen = []
    opened(docs, watch=lambda *at: seen.append(at)).close()
    assert seen == [(2, 5), (4, 5), (5, 5)]
