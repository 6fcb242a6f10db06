import pytest

from distillir.conversation import Conversation
from distillir.data import Context, Counts, LLMReply, LLMRewrites
from distillir.errors import LabelError
from distillir.labels import LabelStore, import_llm_rewrites, import_rewrites, imports


def context(name, pairs=(), **rewrites):
    return Context(name, Conversation.from_pairs(list(pairs), "Where was he born?", id=name), rewrites=rewrites)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def test_rewrites_become_labels_once(store, monkeypatch):
    monkeypatch.setattr(imports, "CHUNK", 2)
    # The same messages in two conversations: people knew whom each was about.
    contexts = [
        context("a", human="Where was Ann born?"),
        context("b", human="Where was Bob born?"),
        context("c", llm="x"),
    ]
    contexts.append(context("d", human="Where was Dan born?"))
    first = import_rewrites(store, contexts, model="canard")
    assert str(first) == "4 read, 3 kept; 1 dropped: no rewrite of 'human'"
    expected = {"a": "Where was Ann born?", "b": "Where was Bob born?", "d": "Where was Dan born?"}
    assert store.rewrites("human") == expected
    again = import_rewrites(store, contexts, model="canard")
    assert again.noted == {"already there": 3}
    assert store.rewrites("human") == expected
    assert len(store) == 3
    import_rewrites(store, contexts, teacher="llm", model="m")
    assert store.rewrites("llm") == {"c": "x"}


def test_another_rewrite_for_the_same_context_is_refused(store):
    import_rewrites(store, [context("a", human="one")])
    with pytest.raises(LabelError, match="already answered"):
        import_rewrites(store, [context("a", human="two")])
    assert import_rewrites(store, [context("a", human="two")], model="second edition").kept == 1


def test_replies_are_stored_raw_with_their_cost_and_status(store):
    history = [("Who?", "Ann.")]
    contexts = [context(name, history) for name in ("ok", "quoted", "cut", "unasked")] + [context("first")]
    replies = {
        "ok": LLMReply("ok", "Where was Ann born?", "stop", 10, 5, 0.5),
        "quoted": LLMReply("quoted", '"Where was Ann born?"', "stop", 10, 5, 0.5),
        "cut": LLMReply("cut", "Ann was born in", "length", 10, 64, 2.0),
    }
    how = {"teacher": "small", "model": "m", "prompt_version": "v", "parameters": {"temperature": 0}}
    counts = import_llm_rewrites(store, contexts, LLMRewrites(replies, Counts()), **how)
    assert (counts.read, counts.kept, counts.dropped) == (5, 4, {"no reply": 1})
    assert counts.noted == {"repaired": 1, "malformed": 1, "first turns, their own rewrite": 1}
    ann = "Where was Ann born?"
    assert store.rewrites("small") == {"ok": ann, "quoted": ann, "first": "Where was he born?"}
    by_context = {row.context_ids[0]: row for row in store.rows("small")}
    assert by_context["quoted"].label.raw == '"Where was Ann born?"'
    assert by_context["cut"].label.raw == "Ann was born in"
    assert by_context["cut"].label.status == "malformed"
    assert by_context["ok"].parameters == {"temperature": 0}
    (summary,) = store.teachers()
    assert (summary.ok, summary.repaired, summary.malformed) == (2, 1, 1)
    assert (summary.tokens_in, summary.tokens_out, summary.seconds) == (30, 74, 3.0)
    again = import_llm_rewrites(store, contexts, LLMRewrites(replies, Counts()), **how)
    assert again.noted["already there"] == 4
    assert len(store) == 4
