"""What goes to another process as its path: corpora and vectors."""

import pickle

import encode_run
import pytest

from distillir.data import Corpus
from distillir.encoding import encode_corpus
from distillir.errors import DataError, VectorsError


def test_corpora_and_vectors_are_sent_as_paths(tmp_path, monkeypatch):
    texts = encode_run.texts(9)
    one = Corpus.build(texts[:5], tmp_path / "one.arrow")
    two = Corpus.build(texts[5:], tmp_path / "two.arrow")
    both = Corpus.concat([one, two])
    vectors = encode_corpus(encode_run.encoder(), both, tmp_path / "vectors", shard_rows=4)
    monkeypatch.chdir(tmp_path)
    relative = Corpus.open("one.arrow")
    sent = [pickle.dumps(item) for item in (both, vectors, relative)]
    assert max(map(len, sent)) < 500
    monkeypatch.chdir("/")
    corpus, same, first = (pickle.loads(item) for item in sent)
    assert [corpus.text(i) for i in range(9)] == [both.text(i) for i in range(9)]
    assert corpus.position(["d7"]).tolist() == [7]
    assert first.ids == one.ids
    assert same.fingerprint == vectors.fingerprint
    assert same.find(["d8"]).tolist() == [8]
    (tmp_path / "two.arrow").unlink()
    (tmp_path / "vectors" / "manifest.json").unlink()
    with pytest.raises(DataError, match="no such file"):
        pickle.loads(sent[0])
    with pytest.raises(VectorsError, match="holds no vectors"):
        pickle.loads(sent[1])
