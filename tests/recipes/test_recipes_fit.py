"""Labels of contexts: through the store, from the named candidate corpus, without those nobody can teach."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.errors import DataError, LabelError, SamplingError
from distillir.labels import Label, LabelRequest, LabelStore, import_rewrites
from distillir.recipes.fit import drawable, label
from distillir.recipes.method import Method
from distillir.recipes.stages import joined
from distillir.recipes.stored import through_store
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")


class OneHot:
    """Encodes a text as the words it holds: dimension i is WORDS[i], weight 1."""

    dim = len(WORDS)
    settings = SimpleNamespace(render=SimpleNamespace(max_length=64))

    def fingerprint(self) -> str:
        return "one-hot"

    def encode_queries(self, conversations):
        return csr_from_rows([self.row(c.question) for c in conversations], self.dim)

    def row(self, text: str):
        dims = np.array([i for i, word in enumerate(WORDS) if word in text.split()], np.int32)
        return dims, np.ones(len(dims), np.float32)


def context(name: str, rewrite: str = "", relevant: tuple[str, ...] = (), source: str = "s", **more: str) -> Context:
    rewrites = {"human": rewrite} if rewrite else {}
    conversation = Conversation.from_pairs([("who?", "me.")], f"and {name}?", id=name)
    return Context(
        name, conversation, rewrites={**rewrites, **more}, relevant=dict.fromkeys(relevant, 1), source=source
    )


def stored(folder: Path, texts: dict[str, str]) -> SparseVectors:
    rows = csr_from_rows([OneHot().row(text) for text in texts.values()], OneHot.dim)
    with SparseVectorsWriter(folder, OneHot.dim, "float32", meta={"encoder": "one-hot"}) as writer:
        writer.append(list(texts), rows)
    return SparseVectors.open(folder)


@pytest.fixture
def documents(tmp_path) -> SparseVectors:
    return stored(tmp_path / "documents", {"a": "one", "b": "one two", "c": "one two three", "d": "four"})


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def labelled(contexts, documents, tmp_path, method=None, **more):
    return label(contexts, OneHot(), documents, method or Method(), tmp_path / "rewrites", **more)


def test_without_a_store_a_context_nobody_rewrote_is_an_error(documents, tmp_path):
    with pytest.raises(DataError, match="'y' has no rewrite by human"):
        labelled([context("x", "one"), context("y")], documents, tmp_path)


def test_with_a_store_contexts_without_a_rewrite_are_left_out_and_counted_by_source(documents, tmp_path, store):
    contexts = [
        context("w", "one", source="canard"),
        context("x", source="canard"),
        context("y", source="qrecc"),
        context("z", source="qrecc"),
        context("m", source="qrecc", llm="two"),
    ]
    method = Method(teachers={"human": 1.0, "llm": 1.0, "off": 0.0})
    found = labelled(contexts, documents, tmp_path, method, store=store)
    assert [c.id for c in found.contexts] == ["w", "m"]
    assert found.dropped == {"no rewrite by human or llm or off": {"canard": 1, "qrecc": 2}}
    assert found.gold_share == {"canard": 0.0, "qrecc": 0.0}
    assert store.rewrites("human", model="file contexts") == {"w": "one"}
    assert store.rewrites("llm", model="file contexts") == {"m": "two"}


def test_a_teacher_of_weight_zero_teaches_nobody(documents, tmp_path, store):
    with pytest.raises(DataError, match="no context has a rewrite"):
        labelled([context("x", llm="one")], documents, tmp_path, Method(teachers={"human": 1, "llm": 0}), store=store)


def test_no_context_with_a_rewrite_is_an_error(documents, tmp_path, store):
    with pytest.raises(DataError, match=r"train\.jsonl 12: no context has a rewrite by human"):
        labelled([context("x")], documents, tmp_path, store=store, origin="train.jsonl 12")


def test_rewrites_come_from_the_store(documents, tmp_path, store):
    asked = LabelRequest("human", "some-model", "v1", "any input", context_id="y")
    store.put(asked, Label("rewrite", "four"))
    found = labelled([context("x", "one"), context("y")], documents, tmp_path, store=store)
    assert [c.rewrites["human"] for c in found.contexts] == ["one", "four"]
    assert found.teacher.row(1)[0].tolist() == [4]
    assert found.pool["y"].positions.tolist() == [3]


def test_what_a_file_says_counts_before_what_a_model_said(store):
    store.put(LabelRequest("human", "model", "v1", "q", context_id="x"), Label("rewrite", "model's"))
    (one,) = through_store(store, [context("x", "file's")], ["human"], "f 1")
    assert one.rewrites == {"human": "file's"}


def test_a_corrected_file_is_read_and_the_old_one_stays_on_record(store):
    through_store(store, [context("x", "wrong"), context("y", "gone")], ["human"], "f 1")
    corrected = through_store(store, [context("x", "right"), context("y")], ["human"], "f 2")
    assert [dict(c.rewrites) for c in corrected] == [{"human": "right"}, {}]
    assert {(row.model, row.label.value) for row in store.rows("human")} == {
        ("file f 1", "wrong"),
        ("file f 1", "gone"),
        ("file f 2", "right"),
    }
    before = len(store)
    through_store(store, [context("x", "right")], ["human"], "f 2")
    assert len(store) == before


def test_two_models_under_one_name_are_refused(store):
    for model in ("a", "b"):
        store.put(LabelRequest("llm", model, "v1", "q", context_id="x"), Label("rewrite", f"by {model}"))
    with pytest.raises(LabelError, match="by 'a' and by 'b'"):
        through_store(store, [context("x")], ["llm"], "f 1")
    import_rewrites(store, [context("y", "by hand")])
    assert through_store(store, [context("y")], ["human"], "f 1")[0].rewrites == {"human": "by hand"}


def test_golds_are_rows_of_the_candidate_corpus(documents, tmp_path):
    contexts = [context("x", "one", ("c", "elsewhere")), context("y", "one", ("elsewhere",)), context("z", "one")]
    found = labelled(contexts, documents, tmp_path)
    assert [g.tolist() for g in found.golds] == [[2], [], []]
    assert found.gold_share == {"s": pytest.approx(1 / 3)}
    assert found.pool["x"].positions.tolist() == [0, 1, 2]  # ties by position; 'd' shares no word


def test_contexts_without_gold_draw_from_the_candidate_corpus(documents, tmp_path):
    others = stored(tmp_path / "others", {"a": "one", "e": "one four", "f": "five"})
    both = joined(documents, others, tmp_path / "joined.vectors")
    assert len(both) == 7
    contexts = [context("x", "one", ("a",)), context("y", "one", ("e",)), context("z", "four")]
    found = labelled(contexts, both, tmp_path, Method(depth=2), own=len(documents))
    assert [g.tolist() for g in found.golds] == [[0], [], []]
    assert found.pool["x"].positions.tolist() == [0, 1]
    assert found.pool["y"].positions.tolist() == [4, 5]
    assert found.pool["z"].positions.tolist() == [5]
    assert joined(documents, others, tmp_path / "joined.vectors").fingerprint == both.fingerprint
    changed = joined(documents, stored(tmp_path / "more", {"g": "one"}), tmp_path / "joined.vectors")
    assert len(changed) == 5


def test_a_context_that_no_list_can_be_drawn_for_is_left_out_and_counted(documents, tmp_path):
    contexts = [context("x", "one"), context("y", "five", source="t"), context("z", "four", source="t")]
    found = labelled(contexts, documents, tmp_path, Method(draw={"top": {"n": 1}}))
    kept = drawable(found, documents, Method(draw={"top": {"n": 1}}))
    assert [c.id for c in kept.contexts] == ["x", "z"]
    assert kept.dropped == {"the teacher ranks too few documents": {"t": 1}}
    deep = Method(draw={"uniform_band": {"n": 1, "first": 2, "last": 3}})
    assert [c.id for c in drawable(found, documents, deep).contexts] == ["x"]
    with pytest.raises(SamplingError, match="no context can be drawn for"):
        drawable(found, documents, Method(draw={"uniform_band": {"n": 1, "first": 4, "last": 9}}))


def test_the_whole_collection_has_no_pool_and_needs_a_teacher_that_finds_something(documents, tmp_path):
    method = Method(pool="collection", objective={"full_collection_kld": {}})
    found = labelled([context("x", "one"), context("y", "five")], documents, tmp_path, method)
    assert found.pool is None
    assert [c.id for c in drawable(found, documents, method).contexts] == ["x"]


def test_two_teachers_are_the_mean_of_those_a_context_has(documents, tmp_path):
    contexts = [context("x", "one", llm="one two"), context("y", llm="three")]
    found = labelled(contexts, documents, tmp_path, Method(teachers={"human": 1.0, "llm": 3.0}))
    assert found.teacher.row(0)[0].tolist() == [1, 2]
    assert found.teacher.row(0)[1].tolist() == [1.0, 0.75]
    assert found.teacher.row(1)[1].tolist() == [1.0]


def test_taking_some_contexts_computes_nothing_again(documents, tmp_path):
    found = labelled([context("x", "one", ("a",)), context("y", "four"), context("z", "two")], documents, tmp_path)
    some = found.take([2, 0])
    assert [c.id for c in some.contexts] == ["z", "x"]
    assert [some.teacher.row(i)[0].tolist() for i in range(2)] == [[2], [1]]
    assert [g.tolist() for g in some.golds] == [[], [0]]
    assert some.pool is found.pool
    assert some.gold_share == {"s": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, rewrites={"human": "two"}),
        lambda c: replace(c, relevant={"b": 1}),
        lambda c: replace(c, conversation=Conversation.from_pairs([], "else?")),
        lambda c: replace(c, id="other"),
    ],
    ids=["rewrite", "gold", "conversation", "id"],
)
def test_the_digest_changes_with_whatever_is_learnt_from(documents, tmp_path, change):
    one = context("x", "one", ("a",))
    before = labelled([one], documents, tmp_path).digest()
    assert labelled([one], documents, tmp_path).digest() == before
    assert labelled([change(one)], documents, tmp_path).digest() != before
