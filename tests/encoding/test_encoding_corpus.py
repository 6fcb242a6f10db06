"""Corpora into vectors: complete, in order, and the same after a kill."""

import subprocess
import sys

import encode_run
import numpy as np
import pytest

from distillir.data import Corpus
from distillir.encoding import encode_corpus
from distillir.errors import VectorsError
from distillir.students.sparse import SparseStudent


@pytest.fixture(scope="module")
def encoder() -> SparseStudent:
    return encode_run.encoder()


def build(tmp_path, count: int, name: str = "corpus", first: int = 0) -> Corpus:
    return Corpus.build(encode_run.texts(count)[first:], tmp_path / f"{name}.arrow")


def after_kills(encoder, tmp_path, kills: int, count: int) -> None:
    corpus = build(tmp_path, count)
    whole = encode_run.encode(encoder, corpus.path, tmp_path / "whole")
    arguments = [str(corpus.path), str(tmp_path / "cut"), str(kills), "5"]
    done = subprocess.run(
        [sys.executable, encode_run.__file__, *arguments], check=False, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == kills  # each of them met an encoding in progress
    cut = encode_run.encode(encoder, corpus.path, tmp_path / "cut")
    assert cut.digest() == whole.digest()
    assert list(cut.ids) == [f"d{i}" for i in range(count)]


def test_three_kills_change_nothing(encoder, tmp_path):
    after_kills(encoder, tmp_path, kills=3, count=60)


@pytest.mark.slow
def test_twenty_kills_change_nothing(encoder, tmp_path):
    after_kills(encoder, tmp_path, kills=20, count=400)


def test_rows_are_those_of_the_encoder_in_order(encoder, tmp_path):
    corpus = build(tmp_path, 11)
    seen = []
    vectors = encode_corpus(
        encoder, corpus, tmp_path / "v", dtype="float32", shard_rows=4, watch=lambda *at: seen.append(at)
    )
    assert seen == [(4, 11), (8, 11), (11, 11)]
    assert vectors.meta == {"encoder": encoder.fingerprint(), "document_length": 24}
    for i in range(11):
        alone = encoder.encode_documents([corpus.text(i)])
        mine = vectors.gather([i])
        np.testing.assert_array_equal(mine.indices, alone.indices)
        np.testing.assert_allclose(mine.values, alone.values, atol=1e-5)


def test_a_finished_encoding_is_not_done_again(encoder, tmp_path, monkeypatch):
    corpus = build(tmp_path, 6)
    first = encode_corpus(encoder, corpus, tmp_path / "v").digest()
    monkeypatch.setattr(encoder, "encode_documents", lambda *_: pytest.fail("encoded again"))
    seen = []
    assert encode_corpus(encoder, corpus, tmp_path / "v", watch=lambda *at: seen.append(at)).digest() == first
    assert seen == [(6, 6)]


def test_a_corpus_that_grew_is_continued_and_another_one_refused(encoder, tmp_path):
    encode_corpus(encoder, build(tmp_path, 5), tmp_path / "v")
    longer = build(tmp_path, 8, "longer")
    assert list(encode_corpus(encoder, longer, tmp_path / "v").ids) == longer.ids
    with pytest.raises(VectorsError, match="of another corpus: row 0 is 'd0', the corpus has 'd2' there"):
        encode_corpus(encoder, build(tmp_path, 8, "other", first=2), tmp_path / "v")
    with pytest.raises(VectorsError, match="row 5 is 'd5', the corpus has no document there"):
        encode_corpus(encoder, build(tmp_path, 5, "shorter"), tmp_path / "v")


def test_another_encoder_is_refused(encoder, tmp_path):
    corpus = build(tmp_path, 3)
    encode_corpus(encoder, corpus, tmp_path / "v")
    other = encode_run.encoder()
    other.model.get_input_embeddings().weight.data[0, 0] += 1
    with pytest.raises(VectorsError, match="was written with meta"):
        encode_corpus(other, corpus, tmp_path / "v")
