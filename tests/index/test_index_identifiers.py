"""Identifiers of a corpus: which texts belong to which passage, and what is refused."""

import json

import numpy as np
import pytest

from distillir.data import Corpus
from distillir.data.views import BODY, QUESTION, TITLE
from distillir.errors import ConfigError, SearchIndexError
from distillir.index.identifiers import IdentifierIndex, stamp_of
from distillir.index.suffix_spans import Spans

DOCUMENTS = [
    {"_id": "a", "title": "one two", "text": "three four five three"},
    {"_id": "b", "title": "", "text": "three four"},
    {"_id": "c", "title": "one two", "text": ""},
]
WORDS = {word: i for i, word in enumerate(["one", "two", "three", "four", "five", "six"])}


def read(text):
    return [WORDS[word] for word in text.split()]


@pytest.fixture
def corpus(tmp_path):
    return Corpus.build(DOCUMENTS, tmp_path / "corpus.arrow")


def build(corpus, folder, views=(TITLE, BODY), **options):
    return IdentifierIndex.build(corpus, folder, views, read, tokenizer="words", **options)


def test_texts_belong_to_their_passages(tmp_path, corpus):
    questions = {"b": ["four six", "one"], "absent": ["five"]}
    index = build(corpus, tmp_path / "ids", (TITLE, BODY, QUESTION), questions=questions)
    assert [[t.tolist() for t in index.texts("title", p)] for p in range(3)] == [[[0, 1]], [], [[0, 1]]]
    assert [[t.tolist() for t in index.texts("question", p)] for p in range(3)] == [[], [[3, 5], [0]], []]
    assert index.tokens == 4 + 6 + 3
    assert index.passages == 3
    body = index.views["body"]
    found = [body.ngrams.find(read(text)) for text in ("three", "five three", "six")]
    spans = Spans(np.concatenate([s.low for s in found]), np.concatenate([s.high for s in found]), 0)
    rows, passages = body.passages(spans)
    assert list(zip(rows.tolist(), passages.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0)]  # "three" twice in a
    title = index.views["title"]
    rows, passages = title.passages(title.ngrams.find(read("one"), whole=True))
    assert passages.tolist() == [0, 2]


def test_an_index_opens_for_its_own_corpus_and_tokenizer_alone(tmp_path, corpus):
    folder = tmp_path / "ids"
    made = build(corpus, folder)
    again = IdentifierIndex.open(folder, tokenizer="words", corpus=corpus, verify=True)
    assert (again.stamp, again.nbytes, set(again.views)) == (made.stamp, made.nbytes, {"title", "body"})
    assert again.views["body"].view == BODY
    other = Corpus.build(DOCUMENTS[:2], tmp_path / "other.arrow")
    assert stamp_of(other) != stamp_of(corpus)
    with pytest.raises(SearchIndexError, match="another corpus"):
        IdentifierIndex.open(folder, corpus=other)
    with pytest.raises(SearchIndexError, match="another tokenizer"):
        IdentifierIndex.open(folder, tokenizer="letters")
    owners = folder / "body.owners.npy"
    owners.write_bytes(owners.read_bytes()[:-1])
    with pytest.raises(SearchIndexError, match="bytes instead of"):
        IdentifierIndex.open(folder)
    about = json.loads((folder / "identifiers.json").read_text())
    for change, message in (({"format": 0}, "format 0"), ({"views": {"body": {}}}, "unreadable")):
        (folder / "identifiers.json").write_text(json.dumps(about | change))
        with pytest.raises(SearchIndexError, match=message):
            IdentifierIndex.open(folder)
    with pytest.raises(SearchIndexError, match="no identifiers"):
        IdentifierIndex.open(tmp_path)


def test_a_view_without_texts_is_refused_and_nothing_is_left(tmp_path, corpus):
    folder = tmp_path / "ids"
    build(corpus, folder)
    with pytest.raises(SearchIndexError, match="view 'question': there are no tokens"):
        build(corpus, folder, (TITLE, QUESTION))
    assert IdentifierIndex.open(folder).views.keys() == {"title", "body"}
    for views in ((), (TITLE, TITLE)):
        with pytest.raises(ConfigError, match="views are"):
            build(corpus, folder, views)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus.arrow", "ids"]


def test_long_titles_are_cut(tmp_path):
    corpus = Corpus.build([{"_id": "x", "title": " ".join(["one"] * 30), "text": "two"}], tmp_path / "c.arrow")
    index = build(corpus, tmp_path / "ids")
    assert len(index.texts("title", 0)[0]) == TITLE.length
