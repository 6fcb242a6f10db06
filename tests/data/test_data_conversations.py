import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillir.conversation import Conversation
from distillir.data import Context, read_contexts, write_contexts
from distillir.errors import DataError

ASK = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Ann."},
    {"role": "user", "content": "Why?"},
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
filled = texts.filter(lambda text: text.strip() != "")


def rows(path, *values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_a_full_row_and_a_short_row(tmp_path):
    path = rows(
        tmp_path / "c.jsonl",
        {
            "id": "c_2",
            "group": "c",
            "messages": ASK,
            "rewrite": {"human": "Why Ann?", "llm": "Why is it Ann?"},
            "relevant": {"d1": 2},
            "source": "chat",
            "domain": "help",
        },
        {"id": "e", "messages": ASK[:1], "rewrite": "Who is it?", "relevant": ["d1", "d2"]},
    )
    full, short = read_contexts(path)
    assert full.conversation == Conversation.from_pairs([("Who?", "Ann.")], "Why?", id="c_2")
    assert (full.group, full.source, full.domain) == ("c", "chat", "help")
    assert full.rewrites == {"human": "Why Ann?", "llm": "Why is it Ann?"}
    assert full.relevant == {"d1": 2}
    assert short.group == "e"
    assert short.rewrites == {"human": "Who is it?"}
    assert short.relevant == {"d1": 1, "d2": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "a", "messages": ASK, "rewrites": "x"}, "unknown key 'rewrites'"),
        ({"messages": ASK}, "missing field 'id'"),
        ({"id": "", "messages": ASK}, "'id' is empty"),
        ({"id": "a"}, "missing field 'messages'"),
        ({"id": "a", "messages": "hi"}, "'messages' is str"),
        ({"id": "a", "messages": ["hi"]}, "other than objects"),
        ({"id": "a", "messages": []}, "is empty"),
        ({"id": "a", "messages": ASK[:2]}, "ends with the assistant's turn"),
        ({"id": "a", "messages": [{"role": "king", "content": "x"}]}, "unknown role 'king'"),
        ({"id": "a", "messages": [{"role": "user", "content": "  "}]}, "question is blank"),
        ({"id": "a", "messages": ASK, "rewrite": ""}, "rewrite of teacher 'human' is blank"),
        ({"id": "a", "messages": ASK, "rewrite": 3}, "'rewrite' is neither"),
        ({"id": "a", "messages": ASK, "rewrite": {"llm": None}}, "'rewrite' is neither"),
        ({"id": "a", "messages": ASK, "relevant": "d1"}, "'relevant' is neither"),
        ({"id": "a", "messages": ASK, "relevant": [1]}, "'relevant' is neither"),
        ({"id": "a", "messages": ASK, "relevant": {"d": 0}}, "'relevant' is neither"),
        ({"id": "a", "messages": ASK, "relevant": {"d": True}}, "'relevant' is neither"),
        ({"id": "ok", "messages": ASK}, "already on line 1"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path, row, reason):
    path = rows(tmp_path / "c.jsonl", {"id": "ok", "messages": ASK}, row)
    with pytest.raises(DataError) as caught:
        read_contexts(path)
    assert caught.value.line == 2
    assert reason in caught.value.reason


def test_half_a_character_is_not_written(tmp_path):
    path = tmp_path / "c.jsonl"
    with pytest.raises(DataError, match="context 'a' holds half a character"):
        write_contexts(path, [Context("a", Conversation.from_pairs([], "\udc00"))])
    assert not path.exists()


contexts = st.builds(
    lambda id, pairs, question, **rest: Context(id, Conversation.from_pairs(pairs, question, id=id), **rest),
    id=filled,
    pairs=st.lists(st.tuples(texts, texts), max_size=3),
    question=filled,
    group=texts,
    rewrites=st.dictionaries(st.sampled_from(["human", "llm", "other"]), filled),
    relevant=st.dictionaries(texts, st.integers(1, 3), max_size=3),
    source=texts,
    domain=texts,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(contexts, min_size=1, max_size=4, unique_by=lambda context: context.id),
    st.sampled_from(["c.jsonl", "c.gz"]),
)
def test_contexts_come_back(tmp_path, given_contexts, name):
    write_contexts(tmp_path / name, given_contexts)
    assert read_contexts(tmp_path / name) == given_contexts
