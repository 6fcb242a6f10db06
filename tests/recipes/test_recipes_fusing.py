"""Several teachers as one: by weight, fitted, by agreement, by the best or worst score."""

from types import SimpleNamespace

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.errors import ConfigError, DataError, LabelError
from distillir.recipes.fusing import fused_teacher, member_vectors, ranked
from distillir.recipes.method import Method
from distillir.recipes.systems import rewrites
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows

WORDS = ("zero", "one", "two", "three", "four", "five")
BOTH = {"human": 1.0, "llm": 1.0}


class Counts:
    """Encodes a text as its words: dimension i is how often WORDS[i] occurs."""

    dim = len(WORDS)
    settings = SimpleNamespace(render=SimpleNamespace(max_length=64))

    def __init__(self, name: str = "counts") -> None:
        self.name = name

    def fingerprint(self) -> str:
        return self.name

    def encode_queries(self, conversations):
        return csr_from_rows([self.row(c.question) for c in conversations], self.dim)

    def row(self, text: str):
        counts = np.array([text.split().count(word) for word in WORDS], np.float32)
        return counts.nonzero()[0].astype(np.int32), counts[counts.nonzero()]


def context(name: str, question: str = "and?", **said: str) -> Context:
    return Context(name, Conversation.from_pairs([], question, id=name), rewrites=said, source="s")


@pytest.fixture
def documents(tmp_path) -> SparseVectors:
    texts = {"a": "one", "b": "two", "c": "one two", "d": "three three", "e": "four"}
    with SparseVectorsWriter(tmp_path / "documents", Counts.dim, "float32", meta={"encoder": "counts"}) as writer:
        writer.append(list(texts), csr_from_rows([Counts().row(t) for t in texts.values()], Counts.dim))
    return SparseVectors.open(tmp_path / "documents")


def fused(contexts, tmp_path, method, **more):
    return fused_teacher(Counts(), contexts, method, tmp_path / "rewrites", **more)


def dense(csr) -> np.ndarray:
    out = np.zeros((csr.rows, Counts.dim))
    for i in range(csr.rows):
        dims, values = csr.row(i)
        out[i, dims] = values
    return out


def test_members_have_an_empty_row_where_they_lack_the_context(tmp_path):
    contexts = [context("x", human="one"), context("y", llm="two two")]
    found = member_vectors(Counts(), contexts, BOTH, tmp_path / "rewrites")
    np.testing.assert_array_equal(dense(found["human"]), [[0, 1, 0, 0, 0, 0], [0] * 6])
    np.testing.assert_array_equal(dense(found["llm"]), [[0] * 6, [0, 0, 2, 0, 0, 0]])


def test_the_best_and_the_worst_score_of_each_document(documents, tmp_path):
    contexts = [context("x", human="one one", llm="two"), context("y", llm="three")]
    best = fused(contexts, tmp_path, Method(teachers=BOTH, fusion="max"))
    worst = fused(contexts, tmp_path, Method(teachers=BOTH, fusion="min"))
    postings = documents.invert()
    assert best.scores(postings, 0).tolist() == [2, 1, 2, 0, 0]
    assert worst.scores(postings, 0).tolist() == [0, 0, 1, 0, 0]
    assert best.scores(postings, 1).tolist() == worst.scores(postings, 1).tolist() == [0, 0, 0, 2, 0]
    np.testing.assert_array_equal(dense(best.vectors), [[0, 1, 0.5, 0, 0, 0], [0, 0, 0, 1, 0, 0]])


def test_a_teacher_of_weight_zero_is_not_heard_by_the_best_score(documents, tmp_path):
    contexts = [context("x", human="one", llm="two")]
    found = fused(contexts, tmp_path, Method(teachers={"human": 1.0, "llm": 0.0}, fusion="max"))
    assert found.scores(documents.invert(), 0).tolist() == [1, 0, 1, 0, 0]


def test_the_untrained_student_teaches_beside_a_rewrite(tmp_path):
    method = Method(teachers={"human": 1.0, "untrained": 1.0})
    contexts = [context("x", "two", human="one")]
    found = fused(contexts, tmp_path, method, start=Counts("start"))
    np.testing.assert_array_equal(dense(found.vectors), [[0, 0.5, 0.5, 0, 0, 0]])
    with pytest.raises(ConfigError, match="needs the untrained student"):
        fused(contexts, tmp_path, method)
    with pytest.raises(DataError, match="'y' has no rewrite by human"):
        fused([context("y", "two")], tmp_path, method, start=Counts("start"))


def test_who_agrees_with_the_others_counts_more(tmp_path):
    method = Method(teachers={"human": 1.0, "llm": 1.0, "other": 1.0}, fusion="confidence")
    found = fused([context("x", human="one", llm="one", other="two")], tmp_path, method)
    agreed, alone = 0.5, 0.05  # mean cosine with the two others; the floor of a teacher that agrees with none
    total = 2 * agreed + alone
    np.testing.assert_allclose(dense(found.vectors)[0, 1:3], [2 * agreed / total, alone / total], rtol=1e-6)


def test_weights_are_fitted_on_contexts_with_gold(documents, tmp_path):
    contexts = [context(f"x{i}", human="one", llm="two") for i in range(4)] + [context("y", llm="three")]
    golds = [np.array([0])] * 4 + [np.empty(0, np.int64)]
    method = Method(teachers=BOTH, fusion="fitted")
    found = fused(contexts, tmp_path, method, documents=documents, golds=golds)
    assert found.fit.contexts == 4
    assert found.plan.weights["human"] > 0.99
    assert found.fit.loss < found.fit.equal
    np.testing.assert_allclose(dense(found.vectors)[4], [0, 0, 0, 1, 0, 0])  # only the useless teacher wrote it
    assert found.take([4, 0]).vectors.rows == 2
    settled = method.settled(found.plan.weights)
    assert (settled.fusion, settled.teachers) == ("linear", dict(found.plan.weights))
    with pytest.raises(LabelError, match="no context"):
        fused(contexts, tmp_path, method, documents=documents, golds=[np.empty(0, np.int64)] * 5)
    with pytest.raises(ConfigError, match="without documents"):
        fused(contexts, tmp_path, method)


@pytest.mark.parametrize("fusion", ["linear", "max", "min"])
def test_a_ranking_is_the_brute_force_ranking(documents, tmp_path, fusion):
    rng = np.random.default_rng(0)
    said = [{t: " ".join(rng.choice(WORDS, 4)) for t in BOTH} for _ in range(6)]
    contexts = [context(f"x{i}", **one) for i, one in enumerate(said)]
    found = fused(contexts, tmp_path, Method(teachers=BOTH, fusion=fusion))
    pool = ranked([c.id for c in contexts], found, documents, 3, [np.empty(0, np.int64)] * 6)
    stored = dense(documents.gather(np.arange(len(documents))))
    for context_, one in zip(contexts, said, strict=True):
        each = np.stack([dense(csr_from_rows([Counts().row(one[t])], Counts.dim)) @ stored.T for t in BOTH])[:, 0]
        expected = {"linear": each.mean(0), "max": each.max(0), "min": each.min(0)}[fusion]
        order = [i for i in np.argsort(-expected, kind="stable") if expected[i] > 0][:3]
        np.testing.assert_array_equal(pool[context_.id].positions, order)
        np.testing.assert_allclose(pool[context_.id].scores, expected[order])


def test_the_members_taken_are_those_of_the_contexts(documents, tmp_path):
    contexts = [context("x", human="one", llm="two"), context("y", human="three", llm="four")]
    found = fused(contexts, tmp_path, Method(teachers=BOTH, fusion="max"))
    some = found.take([1])
    assert some.scores(documents.invert(), 0).tolist() == found.scores(documents.invert(), 1).tolist()
    assert len(found.arrays()) == 9


def test_queries_of_rewrites_are_their_weighted_mean(tmp_path):
    queries = rewrites(Counts(), {"human": 3.0, "llm": 1.0}, tmp_path / "rewrites")
    np.testing.assert_array_equal(dense(queries([context("x", human="one", llm="two")]))[0, 1:3], [0.75, 0.25])
