"""Teacher vectors: computed once a text, fused, and searched."""

import encode_run
import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.encoding import fuse, rewrite_vectors
from distillir.encoding.pool import best
from distillir.students.sparse import SparseStudent
from distillir.vectors import csr_from_rows


@pytest.fixture(scope="module")
def encoder() -> SparseStudent:
    return encode_run.encoder()


def watched(encoder, texts, folder):
    """Rows, and how many texts were encoded for them."""
    counts = [0]
    rows = rewrite_vectors(encoder, texts, folder, watch=lambda done, total: counts.append(done))
    return rows, counts[-1]


def test_a_text_is_encoded_once(encoder, tmp_path):
    texts = ["who wrote dune?", "", "when?", "who wrote dune?", "Wann? 😀 \ud800"]
    rows, encoded = watched(encoder, texts, tmp_path)
    assert (rows.rows, encoded) == (5, 4)
    for i, text in enumerate(texts[:4]):
        alone = encoder.encode_queries([Conversation.from_pairs([], text)])
        np.testing.assert_array_equal(rows.row(i)[0], alone.row(0)[0])
        np.testing.assert_allclose(rows.row(i)[1], alone.row(0)[1], atol=1e-5)
    again, encoded = watched(encoder, [*texts[::-1], "where?"], tmp_path)
    assert encoded == 1  # only the new text
    for i in range(5):
        np.testing.assert_array_equal(again.row(4 - i)[1], rows.row(i)[1])
    assert watched(encoder, texts, tmp_path)[1] == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_other_weights_and_lengths_have_vectors_of_their_own(encoder, tmp_path):
    watched(encoder, ["who wrote dune?"], tmp_path)
    other = encode_run.encoder()
    other.model.get_input_embeddings().weight.data += 0.1
    rows, encoded = watched(other, ["who wrote dune?"], tmp_path)
    assert encoded == 1
    assert rows.rows == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_no_texts_are_no_rows(encoder, tmp_path):
    assert rewrite_vectors(encoder, [], tmp_path).rows == 0
    assert rewrite_vectors(encoder, ["a"], tmp_path).rows == 1


def test_texts_stored_are_read_while_another_process_writes(encoder, tmp_path):
    from distillir.vectors import SparseVectorsWriter

    rewrite_vectors(encoder, ["who wrote dune?"], tmp_path)
    (store,) = tmp_path.iterdir()
    with SparseVectorsWriter(store, encoder.dim, "float32", meta={"encoder": store.name}):
        assert rewrite_vectors(encoder, ["who wrote dune?"], tmp_path).rows == 1


def test_a_fused_vector_scores_as_the_mean_of_the_scores():
    human = csr_from_rows([([0, 2], [1.0, 2.0]), ([1], [4.0])], 4)
    model = csr_from_rows([([2, 3], [4.0, 1.0]), ([], [])], 4)
    fused = fuse({"human": human, "model": model}, [{"human": 0.5, "model": 0.5}, {"human": 1.0}], 4)
    assert [(d.tolist(), v.tolist()) for d, v in (fused.row(0), fused.row(1))] == [
        ([0, 2, 3], [0.5, 3.0, 0.5]),
        ([1], [4.0]),
    ]


def test_the_best_of_scores():
    assert best(np.array([0, 3, 1, 3, 0, 2], np.float32), 3).tolist() == [1, 3, 5]
    assert best(np.array([1, 2, 2, 1, 2, 1, 1], np.float32), 5).tolist() == [1, 2, 4, 0, 3]
    assert best(np.array([0, 3, 1], np.float32), 9).tolist() == [1, 2]
    assert best(np.zeros(4, np.float32), 2).tolist() == []
