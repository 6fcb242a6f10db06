import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import LabelError
from distillir.labels.parsing import count_reasons, join_reasons, parse_order, parse_rewrite, parse_score

IDS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("[2] > [1] > [3]", "bac"),
        ("2 > 1 > 3", "bac"),
        ("[2]>[1]\n>[3]", "bac"),
        ("The 3 passages, best first: [2] > [1] > [3], as asked by 1.", "bac"),
        ("First thought: [1] > [2]. Final: [3] > [1] > [2]", "cab"),
        ("Passage 2 > Passage 1 > Passage 3", "bac"),
        ("[2, 1, 3]", "bac"),
        ('["2", "1", "3"]', "bac"),
        ('```json\n{"ranking": [2, 1, 3], "reason": "x"}\n```', "bac"),
        ('[{"id": 2, "score": 0.9}, {"id": 1}, {"id": 3}]', "bac"),
        ("[2], [1], [3]", "bac"),
        ("1. [2]\n2. [1]\n3. [3]", "bac"),
        ("1. Passage 2\n2. Passage 1\n3. Passage 3", "bac"),
        ("Passage 2 is best, followed by 1 and 3", "bac"),
        ("2\n1\n3", "bac"),
        ("<think>1 > 2 > 3? No.</think>[2] > [1] > [3]", "bac"),
        ("1 > 2 > 3? No.</think>[2] > [1] > [3]", "bac"),
        ("[02] > [01] > [03]", "bac"),
    ],
)
def test_orders_in_all_their_dresses(reply, order):
    parsed = parse_order(reply, IDS)
    assert parsed.value == list(order)
    assert parsed.status == "ok"
    assert (parsed.missing, parsed.repeated, parsed.invented) == (0, 0, 0)


@pytest.mark.parametrize(
    ("reply", "order", "counts"),
    [
        ("[3] > [2]", "cba", (1, 0, 0)),
        ("[3] > [3] > [1]", "cab", (1, 1, 0)),
        ("[9] > [3] > [2] > [1]", "cba", (0, 0, 1)),
        ("[2] > [0] > [3] > [2] > [17]", "bca", (1, 1, 2)),
        ("[2] > [A] > [3] > [1]", "bca", (0, 0, 1)),
    ],
)
def test_orders_are_repaired_by_rule_and_counted(reply, order, counts):
    parsed = parse_order(reply, IDS)
    assert (parsed.value, parsed.status) == (list(order), "repaired")
    assert (parsed.missing, parsed.repeated, parsed.invented) == counts
    assert count_reasons(parsed.reason) == {
        name: n for name, n in zip(("missing", "repeated", "invented"), counts, strict=True) if n
    }


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("I cannot rank these.", "no order in it"),
        ("[7] > [8]", "no order in it"),
        ("[3]", "names too few"),
    ],
)
def test_replies_without_an_order_are_malformed(reply, reason):
    parsed = parse_order(reply, IDS)
    assert (parsed.value, parsed.status) == (None, "malformed")
    assert reason in parsed.reason


def test_how_many_must_be_named_is_a_choice_and_a_cut_is_noted():
    parsed = parse_order("[3] > [", IDS, least=0.0, finish="length")
    assert parsed.value == ["c", "a", "b"]
    assert parsed.reason == "cut off (length); missing:2"


def test_orders_over_ids():
    ids = ["doc-1", "doc-11", "x"]
    assert parse_order("doc-11 > doc-1 > x", ids, numbered=False).value == ["doc-11", "doc-1", "x"]
    assert parse_order('["x", "doc-11", "doc-1"]', ids, numbered=False).status == "ok"
    prose = parse_order("Best is x, then doc-11.", ids, numbered=False)
    assert (prose.value, prose.missing) == (["x", "doc-11", "doc-1"], 1)
    assert parse_order('["x", "doc-2", "doc-1"]', ids, numbered=False).invented == 1
    for bad in ([], ["a", "a"]):
        with pytest.raises(LabelError, match="name each once"):
            parse_order("1", bad)


PIECES = ["[", "]", ">", "1", "2", "3", "17", ",", "{", "}", '"', ":", "id", "1. ", " ", "\n", "<think>", "</think>"]
PIECES += ["```", "null", "-", "0.5", "٣", "²", "1e999", "x", "\ud800"]
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25).map("".join)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80) | pieces, st.integers(1, 6), st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))
def test_any_text_is_a_permutation_or_nothing(reply, n, numbered, least):
    ids = [f"d{i}" for i in range(n)]
    parsed = parse_order(reply, ids, numbered=numbered, least=least)
    if parsed.value is None:
        assert parsed.status == "malformed"
        assert parsed.reason
    else:
        assert sorted(parsed.value) == sorted(ids)
        assert (parsed.status == "ok") == (parsed.missing + parsed.repeated + parsed.invented == 0)


@settings(max_examples=50, deadline=None)
@given(st.permutations(list("abcdefgh")), st.sampled_from([" > ", ">", ", ", "\n"]), st.sampled_from(["[{}]", "{}"]))
def test_a_written_permutation_is_read_back(order, between, dress):
    ids = list("abcdefgh")
    reply = between.join(dress.format(ids.index(name) + 1) for name in order)
    assert parse_order(reply, ids).value == list(order)


@pytest.mark.parametrize(
    "reply", ["[" * 100_000, "> " * 100_000, "a" * 100_000 + ">", "<think>" * 20_000, "1" * 100_000]
)
def test_endless_replies_are_read_in_no_time(reply):
    assert parse_order(reply, IDS).status == "malformed"
    assert parse_rewrite(reply).status in ("ok", "repaired", "malformed")
    assert parse_score(reply).status == "malformed"


ANN = "Where was Ann born?"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (ANN, ""),
        (f'"{ANN}"', "label or quotes"),
        (f"Rewritten question: {ANN}", "label or quotes"),
        (f"**Rewritten question:** {ANN}", "label or quotes"),
        (f"Rewritten question:\n{ANN}", "label or quotes"),
        (f"Sure! Here is the rewritten question:\n\n{ANN}", "preamble"),
        (f"Here's the rewritten question: {ANN}", "preamble"),
        (f"The rewritten question is: “{ANN}”", "preamble; label or quotes"),
        (f"{ANN}\nAnn was born in Rome.", "later lines"),
        (f"<think>\nWho is he? Ann.\n</think>\n\n{ANN}", "thoughts"),
        (f"```text\n{ANN}\n```", "code fence"),
    ],
)
def test_rewrites_are_unwrapped_and_it_is_said_how(reply, reason):
    parsed = parse_rewrite(reply)
    assert parsed.value == ANN
    assert parsed.reason == reason
    assert parsed.status == ("repaired" if reason else "ok")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("<think>Who is", "empty"),
        ("I'm sorry, but I cannot help with that.", "refusal"),
        ("As an AI language model, I have no opinions.", "refusal"),
        ("I don’t have information about that.", "refusal"),
    ],
)
def test_rewrites_that_are_none(reply, reason):
    parsed = parse_rewrite(reply)
    assert (parsed.value, parsed.status, parsed.reason) == (None, "malformed", reason)


def test_what_the_user_says_is_no_refusal_and_no_preamble():
    assert parse_rewrite("I can't log in, what now?").status == "ok"
    assert parse_rewrite("I cannot log in to my account.", question="I cannot log in").status == "ok"
    assert parse_rewrite("Here is a list: what is next in 1, 2, 4", question="Here is a list").status == "ok"
    assert parse_rewrite("Great Wall of China: when was it built?").status == "ok"
    assert parse_rewrite(ANN, finish="length").reason == "cut off (length)"


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60) | pieces, st.text(max_size=10))
def test_any_text_is_a_rewrite_or_none(reply, question):
    parsed = parse_rewrite(reply, question=question)
    assert (parsed.value is None) == (parsed.status == "malformed")
    assert parsed.value is None or (parsed.value.strip() == parsed.value != "" and "\n" not in parsed.value)
    if parsed.status == "ok":
        assert parsed.value == reply.strip()


@pytest.mark.parametrize(
    ("reply", "value", "status"),
    [
        ("0.7", 0.7, "ok"),
        ("Score: 0.7", 0.7, "repaired"),
        ("On a scale of 0 to 1, relevance score: 0.7.", 0.7, "repaired"),
        ("I would say .7", 0.7, "repaired"),
        ("0,7", 0.7, "ok"),
        ("1/1", 1.0, "ok"),
        ("Yes", 1.0, "ok"),
        ("No.", 0.0, "ok"),
        ("**Yes**, it names the place.", 1.0, "repaired"),
    ],
)
def test_scores(reply, value, status):
    parsed = parse_score(reply, words={"yes": 1.0, "no": 0.0})
    assert (parsed.value, parsed.status) == (value, status)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("relevant", "no number"),
        ("between 0.2 and 0.4", "several numbers"),
        ("7", "out of range"),
        ("7/10", "another scale"),
        ("1e999", "out of range"),
        ("1,000", "several numbers"),
    ],
)
def test_scores_that_are_none(reply, reason):
    assert parse_score(reply) == type(parse_score(reply))(None, "malformed", reason)


def test_scores_on_another_scale():
    assert parse_score("7/10", low=0, high=10).value == 7
    assert parse_score("rating is 3 out of 5", low=1, high=5).value == 3


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40) | pieces | st.floats().map(str))
def test_any_text_is_a_score_in_range_or_none(reply):
    parsed = parse_score(reply)
    assert (parsed.value is None) == (parsed.status == "malformed")
    assert parsed.value is None or 0 <= parsed.value <= 1


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["missing", "repeated", "cut off (length)"]), st.integers(1, 9)))
def test_reasons_are_counted_back(counts):
    assert count_reasons(join_reasons([], counts)) == counts
