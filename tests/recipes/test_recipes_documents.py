import json
import shutil

import pytest

from distillir.errors import DataError
from distillir.recipes import SparseRecipe, index_alone, open_retriever
from distillir.recipes.documents import corpus_of


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "buckets.md").write_text("# Buckets\n\nA bucket holds objects.\n", encoding="utf-8")
    (folder / "notes.txt").write_text("Otters eat fish.\n", encoding="utf-8")
    (folder / "logo.md").write_bytes(b"\x89PNG\0\0")
    return folder


def test_a_folder_is_read_as_passages_and_what_was_left_out_is_said(docs, tmp_path):
    said = []
    corpus = corpus_of(docs, tmp_path / "run" / "corpus.arrow", said.append)
    assert [corpus.doc_id(i).split("#")[0] for i in range(len(corpus))] == ["buckets.md", "notes.txt"]
    assert "2 passages of 2 files" in said[0]
    assert said[1].startswith("  logo.md: ")


def test_an_unchanged_folder_is_not_read_again_and_a_changed_one_is(docs, tmp_path):
    path, said = tmp_path / "run" / "corpus.arrow", []
    corpus_of(docs, path, said.append)
    before = path.stat().st_mtime_ns
    said.clear()
    corpus_of(docs, path, said.append)
    assert (path.stat().st_mtime_ns, said) == (before, [])
    (docs / "notes.txt").write_text("Otters eat crabs.\n", encoding="utf-8")
    corpus = corpus_of(docs, path, said.append)
    assert "crabs" in corpus.text(1)
    assert said


def test_a_folder_that_is_gone_leaves_what_was_read_of_it(docs, tmp_path):
    path = tmp_path / "run" / "corpus.arrow"
    corpus_of(docs, path, lambda _: None)
    shutil.rmtree(docs)
    assert len(corpus_of(docs, path, lambda _: None)) == 2


def test_a_folder_without_anything_readable_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.bin").write_bytes(b"\0")
    with pytest.raises(DataError, match="nothing in this folder can be read"):
        corpus_of(tmp_path / "docs", tmp_path / "run" / "corpus.arrow", lambda _: None)
    assert not (tmp_path / "run" / "corpus.arrow").exists()


def test_the_index_of_a_run_filters_by_metadata_and_group(tmp_path):
    rows = [
        {"_id": "a", "text": "An otter eats fish.", "shelf": 1, "group": "river"},
        {"_id": "b", "text": "An otter eats crabs.", "shelf": 2, "group": "sea"},
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    index_alone(SparseRecipe(out=tmp_path / "run", engine="exact", corpus=tmp_path / "corpus.jsonl"), quiet=True)
    with open_retriever(tmp_path / "run") as retriever:
        chat = [{"role": "user", "content": "what does the otter eat"}]
        assert {hit.id for hit in retriever.retrieve(chat)} == {"a", "b"}
        assert [hit.id for hit in retriever.retrieve(chat, where={"shelf": 2})] == ["b"]
        assert [hit.id for hit in retriever.retrieve(chat, where={"group": "river"})] == ["a"]
