"""The loaders on small folders of their own; the published files are read by the slow test."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from distillir.conversation import Exchange
from distillir.data import (
    LLMReply,
    Repair,
    load_canard,
    load_cast,
    load_dstc11,
    load_llm_rewrites,
    load_mtrag,
    load_qrecc,
    read_contexts,
    read_documents,
    read_run,
    repair_rewrite,
    write_published,
)
from distillir.errors import ConfigError, DataError


def rows(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(value) + "\n" for value in values)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def mtrag(tmp_path):
    folder = tmp_path / "mtrag"
    talks = []
    for domain in ("clapnq", "cloud", "fiqa", "govt"):
        turns = [
            {
                "task_id": f"{domain}<::>{i}",
                "user": f"{domain} q{i}",
                "agent": f"{domain} a{i}",
                "new_passage_ids": ["s"] * (i == 2),
            }
            for i in (1, 2, 3)
        ]
        talks.append({"conversation_id": domain, "domain": domain, "turns": turns})
        asked = [(f"{domain}<::>1", f"{domain} q1"), (f"{domain}<::>3", f"{domain} q3, in full")]
        rows(folder / f"queries/{domain}.rewrite.jsonl", *({"_id": i, "text": t} for i, t in asked))
        rows(
            folder / f"queries/{domain}.lastturn.jsonl",
            {"_id": asked[0][0], "text": f"|user|: {domain} q1"},
            {"_id": asked[1][0], "text": "other"},
        )
        (folder / "qrels").mkdir(exist_ok=True)
        (folder / f"qrels/{domain}.tsv").write_text(
            f"query-id\tcorpus-id\tscore\n{domain}<::>3\tp\t1\n{domain}<::>3\tz\t0\n"
        )
        rows(folder / f"corpus/{domain}.jsonl.gz", {"_id": "p", "title": domain, "text": "passage", "url": ""})
        rows(
            folder / f"synthetic/corpus.{domain}.jsonl.gz",
            {"_id": "p", "text": "again"},
            {"_id": "s", "text": "synthetic"},
        )
    rows(folder / "conversations.jsonl.gz", *talks)
    rows(folder / "synthetic/conversations.jsonl.gz", *({**talk, "conversation_id": "s"} for talk in talks))
    (folder / "splits.json").write_text(
        json.dumps({"clapnq": "train", "cloud": "dev", "fiqa": "test", "govt": "test"}, indent=1)
    )
    rows(folder / "clapnq_single_turn.train.jsonl", {"_id": "nq_1", "text": "who", "passage_ids": ["p"], "answer": "x"})
    return folder


def test_mtrag_contexts_have_history_rewrite_and_judgements(mtrag):
    data = load_mtrag(mtrag)
    first, third = data.contexts("train")
    assert first.conversation.exchanges == ()
    assert first.relevant == {}
    assert third.id == third.conversation.id == "clapnq<::>3"
    assert third.group == third.domain == "clapnq"
    assert third.conversation.exchanges == (Exchange("clapnq q1", "clapnq a1"), Exchange("clapnq q2", "clapnq a2"))
    assert third.conversation.question == "clapnq q3"
    assert third.rewrites == {"human": "clapnq q3, in full"}
    assert third.relevant == {"p": 1}
    assert data.counts.read == 12
    assert data.counts.dropped == {"no human rewrite": 4}
    assert list(data.counts.noted.values()) == [4]
    assert [c.id for c in data.contexts("test", ["fiqa"])] == ["fiqa<::>1", "fiqa<::>3"]
    assert len(data.contexts()) == 8


def test_mtrag_extras_and_corpora(mtrag, tmp_path):
    data = load_mtrag(mtrag)
    made = data.synthetic(["cloud"])
    assert [(c.group, c.domain, dict(c.relevant), c.rewrites) for c in made] == [
        ("s", "cloud", {}, {}),
        ("s", "cloud", {"s": 1}, {}),
        ("s", "cloud", {}, {}),
    ]
    (single,) = data.single_turn("train")
    assert (single.rewrites, single.relevant, single.domain) == ({"human": "who"}, {"p": 1}, "clapnq")
    assert data.corpus("cloud", tmp_path).ids == ["p"]
    for _ in range(2):  # built, then opened
        both = data.corpus("cloud", tmp_path, synthetic=True)
        assert [both.text(i) for i in range(2)] == ["cloud passage", "synthetic"]


def test_mtrag_refuses_what_does_not_fit_together(mtrag, tmp_path):
    data = load_mtrag(mtrag)
    for ask in (
        lambda: data.contexts("eval"),
        lambda: data.contexts(domains=["web"]),
        lambda: data.corpus("web", tmp_path),
    ):
        with pytest.raises(DataError, match="use "):
            ask()
    rows(mtrag / "queries/fiqa.rewrite.jsonl", {"_id": "stray<::>1", "text": "t"})
    with pytest.raises(DataError, match="1 rewrites belong to no turn, 'stray<::>1'"):
        load_mtrag(mtrag)
    (mtrag / "splits.json").write_text('{"clapnq": "train"}')
    with pytest.raises(DataError, match="'cloud' is not in splits"):
        load_mtrag(mtrag)
    (mtrag / "splits.json").write_text('{"clapnq": "half"}')
    with pytest.raises(DataError, match="not an object"):
        load_mtrag(mtrag)
    with pytest.raises(DataError, match="no such file"):
        load_mtrag(tmp_path / "nowhere")


@pytest.fixture
def dstc11(tmp_path):
    folder = tmp_path / "dstc11"
    say = [
        {"speaker": "user", "text": "hello"},
        {"speaker": "agent", "text": "yes?"},
        {"speaker": "user", "text": "wifi?"},
    ]
    other = [{"speaker": "user", "text": "hi"}]
    rows(
        folder / "conversations.jsonl.gz",
        {"_id": "v1", "turns": say, "response": "free", "passage_ids": ["a0"], "split": "train"},
        {"_id": "v2", "turns": say[:1], "response": "r", "passage_ids": ["b0"], "split": "train"},
        {"_id": "v3", "turns": other, "response": "r", "passage_ids": [], "split": "dev"},
    )
    rows(
        folder / "corpus.jsonl.gz",
        {"_id": "a0", "title": "A", "text": "t", "group": "hotel__a"},
        {"_id": "b0", "title": "B", "text": "t", "group": "hotel__b"},
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nv1\ta0\t1\nv2\tb0\t1\nv2\ta0\t1\n")
    return folder


def test_dstc11_contexts_entities_and_groups(dstc11, tmp_path):
    data = load_dstc11(dstc11)
    one, two = data.contexts("train")
    assert one.conversation.exchanges == (Exchange("hello", "yes?"),)
    assert one.conversation.question == "wifi?"
    assert one.group == two.group == "v1"
    assert data.entities == {"v1": ("hotel__a",), "v2": ("hotel__a", "hotel__b")}
    assert data.responses["v1"] == "free"
    assert data.counts.dropped == {"no relevant snippet": 1}
    assert data.contexts("dev") == []
    assert data.corpus(tmp_path).groups().tolist() == ["hotel__a", "hotel__b"]
    with pytest.raises(DataError, match="no split"):
        data.contexts("eval")


def test_dstc11_refuses_a_gold_snippet_that_is_not_there(dstc11):
    (dstc11 / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nv1\tzz\t1\n")
    with pytest.raises(DataError, match="'zz' is not in the corpus"):
        load_dstc11(dstc11)


def test_canard_and_qrecc(tmp_path):
    row = {"_id": "C_1_0#2", "history": ["q1", "a1"], "question": "why?", "rewrite": "why is it?"}
    loaded = load_canard(rows(tmp_path / "c.jsonl", row, {**row, "_id": "C_1_0#3", "rewrite": " "}))
    (context,) = loaded.contexts
    assert (context.group, context.domain, context.rewrites) == ("C_1_0", "", {"human": "why is it?"})
    assert context.conversation.exchanges == (Exchange("q1", "a1"),)
    assert str(loaded.counts) == "2 read, 1 kept; 1 dropped: no rewrite"
    row |= {"_id": "94_2", "history": ["q1", ""], "passage_ids": ["http://p_0"]}
    (context,) = load_qrecc(rows(tmp_path / "q.jsonl", row)).contexts
    assert (context.group, context.domain, context.relevant) == ("94", "qrecc", {"http://p_0": 1})
    assert context.conversation.exchanges == (Exchange("q1", ""),)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"history": ["q1"]}, "1 utterances"),
        ({"history": "q1"}, "'history' is str"),
        ({"question": ""}, "'question' is empty"),
        ({"_id": "x#1"}, "given before"),
    ],
)
def test_bad_rewrite_rows_are_refused(tmp_path, change, reason):
    row = {"_id": "x#1", "history": [], "question": "why?", "rewrite": "r"}
    with pytest.raises(DataError, match=r"c\.jsonl:2: ") as caught:
        load_canard(rows(tmp_path / "c.jsonl", row, {**row, "_id": "x#2", **change}))
    assert reason in caught.value.reason


@pytest.fixture
def cast(tmp_path):
    folder = tmp_path / "cast"
    linear = [{"_id": f"31_{i}", "user": f"u{i}", "rewrite": f"r{i}" if i != 2 else None} for i in (1, 2, 3)]
    tree = [
        {"_id": "132_1-1", "parent": None, "participant": "User", "user": "root", "rewrite": "root"},
        {"_id": "132_1-2", "parent": "1-1", "participant": "System", "agent": "said", "rewrite": None},
        {"_id": "132_1-3", "parent": "1-2", "participant": "User", "user": "left", "rewrite": "left!"},
        {"_id": "132_2-1", "parent": "1-2", "participant": "User", "user": "right", "rewrite": "right!"},
    ]
    topics = [{"year": 2019, "topic": 31, "title": "t", "turns": linear}, {"year": 2022, "topic": 132, "turns": tree}]
    rows(folder / "topics.jsonl.gz", *topics)
    (folder / "qrels.2019.txt").write_text("31_1 Q0 CAR_1 0\n31_1 Q0 CAR_2 3\n31_3 Q0 MARCO_1 1\n")
    return folder


def test_cast_reads_lines_of_turns_and_trees(cast):
    data = load_cast(cast)
    one, three, root, left, right = data.contexts()
    assert str(data.counts) == "6 read, 5 kept; 1 dropped: no manual rewrite"
    assert three.conversation.exchanges == (Exchange("u1", ""), Exchange("u2", ""))
    assert (three.group, three.domain, three.rewrites) == ("cast2019-31", "cast2019", {"human": "r3"})
    assert one.relevant == {"CAR_2": 3}
    assert data.qrels(2019)["31_1"] == {"CAR_1": 0, "CAR_2": 3}
    assert root.conversation.exchanges == ()
    for branch, question in ((left, "left"), (right, "right")):
        assert branch.conversation.exchanges == (Exchange("root", "said"),)
        assert branch.conversation.question == question
    assert data.contexts([2022]) == [root, left, right]
    with pytest.raises(DataError, match="no year 2023"):
        data.contexts([2023])


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"_id": "1_a", "parent": "zz", "user": "u", "rewrite": "r"}], "follows 'zz'"),
        ([{"_id": "1_a", "parent": "a", "user": "u", "rewrite": "r"}], "follows 'a'"),  # itself
        ([{"_id": "1_a", "participant": "Ghost", "user": "u", "rewrite": "r"}], "unknown participant 'Ghost'"),
        ([{"_id": "1_a", "user": "u", "rewrite": "r"}] * 2, "two turns with one id"),
        ([{"_id": "1_a", "user": "", "rewrite": "r"}], "'user' is empty"),
    ],
)
def test_bad_cast_topics_are_refused(tmp_path, turns, reason):
    rows(tmp_path / "topics.jsonl", {"year": 2020, "topic": 1, "turns": turns})
    with pytest.raises(DataError, match=r"topics\.jsonl:1: ") as caught:
        load_cast(tmp_path)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("reply", "finish", "expected"),
    [
        ("Who founded Apple?", "stop", Repair("Who founded Apple?", "ok")),
        ("  Who founded Apple?\n", "stop", Repair("Who founded Apple?", "ok")),
        ('"Who founded Apple?"', "stop", Repair("Who founded Apple?", "repaired")),
        ("Rewritten question: Who founded Apple?", "stop", Repair("Who founded Apple?", "repaired")),
        ("**Rewritten Question:**\n\n“Who?”", "stop", Repair("Who?", "repaired")),
        ("Who?\nBecause it was unclear.", "stop", Repair("Who?", "repaired")),
        ('"A" or "B"', "stop", Repair('"A" or "B"', "ok")),
        ("Gifting: what is it?", "stop", Repair("Gifting: what is it?", "ok")),
        ("Who founded", "length", Repair(None, "malformed", "finish is 'length'")),
        (" \n", "stop", Repair(None, "malformed", "nothing in it")),
        ("Question:", "stop", Repair(None, "malformed", "nothing in it")),
    ],
)
def test_the_repair_rule(reply, finish, expected):
    assert repair_rewrite(reply, finish) == expected


def test_llm_rewrites_are_counted_kept_raw_and_attached(tmp_path, mtrag):
    cost = {"finish": "stop", "tokens_in": 9, "tokens_out": 3, "seconds": 0.5}
    path = rows(
        tmp_path / "l.jsonl",
        {"_id": "clapnq<::>3", "reply": '"full"', **cost},
        {"_id": "cloud<::>3", "reply": "cut", **cost, "finish": "length"},
    )
    rewrites = load_llm_rewrites(path)
    assert rewrites.replies["clapnq<::>3"] == LLMReply("clapnq<::>3", '"full"', "stop", 9, 3, 0.5)
    assert str(rewrites.counts) == "2 read, 1 kept; 1 dropped: finish is 'length'; 1 noted: repaired"
    given_contexts = {c.id: c for c in rewrites.attach(load_mtrag(mtrag).contexts(), "small")}
    assert given_contexts["clapnq<::>3"].rewrites == {"human": "clapnq q3, in full", "small": "full"}
    assert given_contexts["clapnq<::>1"].rewrites["small"] == "clapnq q1"  # a first turn is its own rewrite
    assert "small" not in given_contexts["cloud<::>3"].rewrites  # malformed: nothing, not a guess
    assert "small" not in given_contexts["fiqa<::>3"].rewrites  # never asked


@pytest.mark.parametrize("change", [{"tokens_in": 1.5}, {"tokens_out": -1}, {"seconds": "1"}, {"_id": "a"}])
def test_bad_llm_rows_are_refused(tmp_path, change):
    row = {"_id": "a", "reply": "r", "finish": "stop", "tokens_in": 1, "tokens_out": 1, "seconds": 1}
    with pytest.raises(DataError, match=":2: "):
        load_llm_rewrites(rows(tmp_path / "l.jsonl", row, {**row, "_id": "b", **change}))


def test_published_sets_become_files_that_a_recipe_names(mtrag, dstc11, tmp_path):
    out = tmp_path / "out"
    written = write_published("mtrag", mtrag, out / "cloud", "cloud")
    assert written["corpus.jsonl"] == 1
    assert [d.id for _, d in read_documents(out / "cloud" / "corpus.jsonl")] == ["p"]
    data = load_mtrag(mtrag)
    for split in ("train", "dev", "test"):
        expected = data.contexts(split, ["cloud"])
        assert written.get(f"{split}.jsonl", 0) == len(expected)
        if expected:
            assert read_contexts(out / "cloud" / f"{split}.jsonl") == expected
    written = write_published("dstc11", dstc11, out / "dstc11")
    assert written["corpus.jsonl"] == len(list(read_documents(out / "dstc11" / "corpus.jsonl")))
    groups = {d.group for _, d in read_documents(out / "dstc11" / "corpus.jsonl")}
    assert groups == set(load_dstc11(dstc11).corpus(tmp_path).groups())


def test_an_unknown_set_or_a_missing_domain_is_refused(mtrag, tmp_path):
    with pytest.raises(ConfigError, match="no data set 'msmarco' → use one of canard, chitchat, dstc11, mtrag, qrecc"):
        write_published("msmarco", mtrag, tmp_path / "out")
    with pytest.raises(ConfigError, match="several collections → give --domain"):
        write_published("mtrag", mtrag, tmp_path / "out")
    with pytest.raises(ConfigError, match="leave --domain out"):
        write_published("canard", mtrag, tmp_path / "out", "cloud")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    "DISTILLIR_DATA" not in os.environ, reason="DISTILLIR_DATA does not name the folder of public data sets"
)
def test_the_published_files_have_the_published_counts(tmp_path):
    root = Path(os.environ["DISTILLIR_DATA"])
    data = load_mtrag(root / "mtrag")
    assert (data.counts.read, data.counts.kept, data.counts.noted.total()) == (842, 777, 0)
    assert [len(data.contexts(split)) for split in ("train", "dev", "test")] == [458, 119, 200]
    assert [len({c.group for c in data.contexts(split)}) for split in ("train", "dev", "test")] == [66, 17, 27]
    sizes = {
        "clapnq": (11_023, 208, 578),
        "cloud": (12_059, 188, 494),
        "fiqa": (14_205, 180, 535),
        "govt": (1_565, 201, 521),
    }
    extra = 0
    for domain, (passages, queries, judged) in sizes.items():
        corpus, found = data.corpus(domain, tmp_path), data.contexts(domains=[domain])
        assert (len(corpus), len(found), sum(len(c.relevant) for c in found)) == (passages, queries, judged)
        assert all(document in corpus for c in found for document in c.relevant)
        both = data.corpus(domain, tmp_path, synthetic=True)
        assert all(document in both for c in data.synthetic([domain]) for document in c.relevant)
        extra += len(both) - len(corpus)
    assert extra == 863 - (14 + 55 + 83 + 31)
    assert len(data.synthetic()) == 1181
    assert sum(bool(c.relevant) for c in data.synthetic()) == 470
    assert len(data.synthetic(["clapnq", "cloud", "fiqa", "govt"])) == 1181
    assert [len(data.single_turn(split)) for split in ("train", "dev")] == [124, 57]
    for path in (root / "mtrag" / "runs").iterdir():
        assert all(len(listed) <= 10 for listed in read_run(path).values())

    tod = load_dstc11(root / "dstc11_track5")
    assert [len(tod.contexts(split)) for split in ("train", "dev", "test")] == [1495, 209, 425]
    assert sum(len(c.relevant) for c in tod.contexts()) == 8669
    groups = tod.corpus(tmp_path).groups()
    assert (len(groups), len(set(groups.tolist()))) == (10_882, 143)
    spans = [{c.group for c in tod.contexts(split)} for split in ("train", "dev", "test")]
    assert len(set.union(*spans)) == sum(map(len, spans))

    canard = load_canard(root / "rewrites/canard_dev.jsonl.gz")
    assert (canard.counts.kept, len({c.group for c in canard.contexts})) == (3430, 490)
    assert load_qrecc(root / "rewrites/qrecc_dev2k.jsonl.gz").counts.kept == 2000
    small = load_llm_rewrites(root / "llm_rewrites/mtrag.qwen2.5-coder-1.5b.jsonl")
    assert (small.counts.read, small.counts.dropped) == (732, Counter({"finish is 'length'": 12}))
    assert sum(r.tokens_in for r in small.replies.values()) == 338_132
    assert sum(r.tokens_out for r in small.replies.values()) == 9_781
    assert load_llm_rewrites(root / "llm_rewrites/mtrag_synthetic.qwen2.5-coder-1.5b.jsonl").counts.read == 411
    topics = load_cast(root / "cast")
    assert [len(topics.contexts([year])) for year in (2019, 2020, 2021, 2022)] == [502, 216, 239, 205]
    assert [sum(map(len, topics.qrels(year).values())) for year in (2019, 2020, 2021)] == [29_350, 40_451, 19_334]
