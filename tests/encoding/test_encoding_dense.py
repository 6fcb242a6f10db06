"""Corpora and rewrites into dense vectors, the teacher's ranking, and whose vectors a store holds."""

import random

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Corpus
from distillir.encoding.dense import (
    check_space,
    dense_rewrite_vectors,
    dense_teacher_pool,
    encode_dense_corpus,
    fuse_dense,
)
from distillir.errors import DataError, VectorsError
from distillir.rendering import RenderSettings
from distillir.students import resolve
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_writer import DenseVectorsWriter

WORDS = ["spice", "dune", "river", "Main", "Frankfurt", "film", "book", "who", "wrote", "when", "desert", "light"]


@pytest.fixture(scope="module")
def encoder() -> DenseStudent:
    settings = DenseSettings(RenderSettings(max_length=32), document_length=24)
    return DenseStudent.from_pretrained(resolve("splade-tiny"), settings)


def build(tmp_path, count: int, name: str = "corpus") -> Corpus:
    rng = random.Random(4)
    rows = [
        {"_id": f"d{i}", "title": rng.choice(WORDS), "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))}
        for i in range(count)
    ]
    return Corpus.build(rows, tmp_path / f"{name}.arrow")


def test_rows_are_those_of_the_encoder_in_order(encoder, tmp_path):
    corpus, seen = build(tmp_path, 11), []
    vectors = encode_dense_corpus(
        encoder,
        corpus,
        tmp_path / "v",
        dtype="float32",
        shard_rows=4,
        watch=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 11), (8, 11), (11, 11)]
    assert list(vectors.ids) == corpus.ids
    assert (vectors.similarity, vectors.encoder) == ("cosine", encoder.fingerprint())
    np.testing.assert_allclose(
        vectors.gather(range(11)), encoder.encode_documents([corpus.text(i) for i in range(11)]), atol=1e-5
    )


def test_an_encoding_that_was_stopped_goes_on(encoder, tmp_path):
    corpus = build(tmp_path, 12)
    whole = encode_dense_corpus(encoder, corpus, tmp_path / "whole", shard_rows=5)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_dense_corpus(encoder, corpus, tmp_path / "cut", shard_rows=5, watch=stop)
    assert len(DenseVectors.open(tmp_path / "cut", partial=True)) == 5
    assert encode_dense_corpus(encoder, corpus, tmp_path / "cut", shard_rows=5).digest() == whole.digest()
    with pytest.raises(VectorsError, match="another corpus: row 0 is 'd0', the corpus has 'x'"):
        encode_dense_corpus(encoder, Corpus.build([{"_id": "x", "text": "y"}], tmp_path / "x.arrow"), tmp_path / "cut")
    other = DenseStudent.from_pretrained(resolve("splade-tiny"), DenseSettings(document_length=20))
    with pytest.raises(VectorsError, match="was written with meta"):
        encode_dense_corpus(other, corpus, tmp_path / "cut", shard_rows=5)


def test_rewrites_are_encoded_once(encoder, tmp_path, monkeypatch):
    texts = ["who wrote dune", "a river", "who wrote dune"]
    first = dense_rewrite_vectors(encoder, texts, tmp_path)
    np.testing.assert_allclose(
        first, encoder.encode_queries([Conversation.from_pairs([], text) for text in texts]), atol=1e-5
    )
    asked = []
    real = encoder.encode_queries
    monkeypatch.setattr(encoder, "encode_queries", lambda chats: asked.extend(c.question for c in chats) or real(chats))
    again = dense_rewrite_vectors(encoder, ["a river", "a book", "who wrote dune"], tmp_path)
    assert asked == ["a book"]
    np.testing.assert_array_equal(again[[0, 2]], first[[1, 0]])


def test_a_fused_teacher_scores_as_the_mean_of_its_parts():
    vectors = {"a": np.array([[1.0, 0], [2, 2]], np.float32), "b": np.array([[0, 4.0], [9, 9]], np.float32)}
    fused = fuse_dense(vectors, [{"a": 0.5, "b": 0.5}, {"a": 1.0}], 2)
    np.testing.assert_array_equal(fused, [[0.5, 2.0], [2.0, 2.0]])
    document = np.array([3.0, 5.0], np.float32)
    assert fused[0] @ document == (vectors["a"][0] @ document + vectors["b"][0] @ document) / 2


def test_the_pool_is_the_exact_ranking_of_every_context(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("distillir.encoding.dense.QUERIES", 2)
    documents = encode_dense_corpus(encoder, build(tmp_path, 20), tmp_path / "v", shard_rows=6)
    queries = encoder.encode_queries([Conversation.from_pairs([], word) for word in WORDS[:5]])
    pool = dense_teacher_pool(WORDS[:5], queries, documents, depth=7)
    every = queries @ documents.gather(range(20)).T
    for i, name in enumerate(WORDS[:5]):
        np.testing.assert_array_equal(pool[name].positions, np.argsort(-every[i], kind="stable")[:7])
        np.testing.assert_allclose(pool[name].scores, np.sort(every[i])[::-1][:7], rtol=1e-6)


def test_vectors_of_another_model_are_told_apart(encoder, tmp_path):
    corpus = build(tmp_path, 40)
    made = encoder.encode_documents([corpus.text(i) for i in range(40)])
    rng = np.random.default_rng(0)
    cases = {
        "own": made + rng.normal(0, 0.01, made.shape),  # another precision
        "shuffled": rng.normal(size=made.shape),
        "wide": np.ones((40, 3)),
    }
    stores = {}
    for name, rows in cases.items():
        with DenseVectorsWriter(tmp_path / name, rows.shape[1]) as writer:
            writer.append(corpus.ids, rows)
        stores[name] = DenseVectors.open(tmp_path / name)
    assert check_space(encoder, stores["own"], corpus) > 0.95
    with pytest.raises(VectorsError, match="does not hold this encoder's vectors: their mean cosine"):
        check_space(encoder, stores["shuffled"], corpus)
    with pytest.raises(VectorsError, match="width 3, the encoder makes 128"):
        check_space(encoder, stores["wide"], corpus)
    with pytest.raises(DataError, match="no document"):
        check_space(encoder, stores["own"], build(tmp_path, 5, "small"))
