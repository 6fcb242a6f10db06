"""Each check against figures counted by hand, and the report that carries them."""

import json
from math import exp, log

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distillir.conversation import Conversation
from distillir.data import Context
from distillir.errors import LabelError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.labels.audit import (
    AuditReport,
    Case,
    Check,
    Limits,
    audit_rewrites,
    audit_scores,
    audit_store,
    cases,
    check_copied,
    check_drift,
    check_duplicates,
    check_failures,
    check_gold,
    check_leak,
    check_length,
    check_listwise,
    check_score_agreement,
    check_spread,
    check_targets,
    check_text_agreement,
)
from distillir.labels.audit.agreement import spearman
from distillir.labels.audit.copied import copied_shares
from distillir.labels.audit.drift import drift
from distillir.labels.audit.duplicates import grams, near_duplicates
from distillir.labels.audit.gold import gold_rank
from distillir.labels.audit.language import FUNCTION_WORDS, language, script
from distillir.labels.audit.leak import is_statement, leaked_words
from distillir.labels.audit.temperature import effective_documents, entropy_temperature
from distillir.objectives import effective_documents as torch_documents
from distillir.objectives import entropy_temperature as torch_temperature

LIMITS = Limits()


def case(rewrite, question="Where was he born?", asked=("Who is Ann's son?",), said=("Bob is.",), **more):
    return Case(more.pop("id", rewrite), more.pop("group", rewrite), question, asked, said, rewrite, **more)


def test_length_by_hand():
    found = check_length(
        [
            case("Where was Bob born?"),  # 4 words of 4
            case("Bob"),  # 1 of 4: too short
            case("word " * 31),  # 31 of 4: runs on
            case("word " * 31, question="w " * 11),  # 31 of 11 is within three times
        ],
        "llm",
        LIMITS,
    )
    assert (found.n, found.figures["too_long"], found.figures["too_short"]) == (4, 0.25, 0.25)
    assert found.figures["words_median"] == (4 + 31) / 2
    assert found.figures["ratio_median"] == pytest.approx((1 + 31 / 11) / 2)
    assert [warning.split(" of ")[0] for warning in found.warnings] == ["25 %", "25 %"]
    assert all(" → " in warning for warning in found.warnings)
    assert found.flagged == ("Bob", "word " * 31)
    assert check_length([], "llm", LIMITS).n == 0


def test_copied_by_hand():
    # where was born: the question's; bob: the history's; yesterday: neither's
    assert copied_shares("Where was he born?", ["Bob is."], "Where was Bob born yesterday") == (0.6, 0.2, 0.2)
    assert copied_shares("a", [], "!?") == (1.0, 0.0, 0.0)
    found = check_copied(
        [case("where was he born"), case("Who is Ann's son?"), case("Where was Bob born?")], "l", LIMITS
    )
    assert found.figures["unchanged"] == pytest.approx(1 / 3)
    assert found.figures["earlier_question"] == pytest.approx(1 / 3)
    assert found.figures["from_question"] == pytest.approx((1 + 1 / 5 * 0 + 0.75) / 3)
    assert len(found.warnings) == 1
    assert found.flagged == ("Who is Ann's son?",)
    assert "word for word" in check_copied([case("Where was he born")], "l", LIMITS).warnings[0]
    assert "neither in" in check_copied([case("Rome Italy 1970 certainly")], "l", LIMITS).warnings[0]
    assert check_copied([], "l", LIMITS) == Check("copied", "l", 0)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Where was he born?", "LATIN"),
        ("Где он родился?", "CYRILLIC"),
        ("他在哪里出生？", "HAN"),
        ("どこで生まれたの", "HAN"),
        ("เขาเกิดที่ไหน", "THAI"),
        ("أين ولد؟", "ARABIC"),
        ("42?!", None),
        ("ab вг", None),
    ],
)
def test_scripts(text, name):
    assert script(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is the capital of Peru?", "en"),
        ("Is it free to open a second bank account as a freelancer?", "en"),
        ("Was ist die Hauptstadt von Peru?", "de"),
        ("Quelle est la capitale du Pérou ?", "fr"),
        ("¿Cuál es la capital de Perú y dónde está?", "es"),
        ("Qual è la capitale del Perù e chi è il presidente?", "it"),
        ("Qual é a capital do Peru e quem é o presidente?", "pt"),
        ("Wat is de hoofdstad van Peru?", "nl"),
        ("Vad är huvudstaden i Peru och hur stor är den?", "sv"),
        ("Jaka jest stolica Peru i gdzie się znajduje?", "pl"),
        ("Peru'nun başkenti nerede ve ne kadar büyük?", "tr"),
        ("Apa ibu kota Peru dan di mana letaknya?", "id"),
        ("Что это и где он родился?", "ru"),
        ("Bob Smith Oracle", None),
        ("", None),
    ],
)
def test_languages_by_function_words(text, name):
    assert language(text) == name


def test_function_words_are_words_once():
    for line in FUNCTION_WORDS.values():
        assert len(line.split()) == len(set(line.split()))


def test_drift_is_seen_and_not_invented():
    assert drift("เขาเกิดที่ไหน", [], "Where was he born?") == "THAI → LATIN"
    assert drift("Und wo ist er geboren?", [], "Where was the king born and when?") == "de → en"
    assert drift("Und er?", ["Was ist die Hauptstadt von Peru?"], "What is the age of the king?") == "de → en"
    assert drift("42?", [], "Where was he born?") == ""
    assert drift("Where was he born?", [], "Bob Smith Geburtsort") == ""
    found = check_drift([case("Where was Bob born?"), case("Wo ist der Bob und was ist das?")], "l", LIMITS)
    assert found.figures["drifted"] == 0.5
    assert "most: en → de" in found.warnings[0]
    assert check_drift([], "l", LIMITS).figures["drifted"] == 0


def test_leaks_are_words_only_the_coming_answer_has():
    answer = "He was born in Rome, Italy, on Monday."
    leak = case("Was Bob born in Rome, Italy on Monday?", answer=answer)
    assert leaked_words(leak) == ["rome", "italy", "monday"]
    assert leaked_words(case("Was Bob born in Rome?", said=("Bob is. Rome is big.",), answer=answer)) == []
    statement = case("Bob was born in a town.", answer=answer)
    found = check_leak([leak, statement, case("Where was Bob born?", answer=answer), case("Bob?")], "l", LIMITS)
    assert found.figures == {"answer_known": 3, "leaking": pytest.approx(1 / 3), "statements": 0.25}
    assert len(found.warnings) == 2
    assert set(found.flagged) == {leak.id, statement.id}


@pytest.mark.parametrize(
    ("question", "rewrite", "states"),
    [
        ("Where was he born?", "Bob was born in Rome.", True),
        ("where was he born", "Bob was born in Rome", True),
        ("where was he born", "where was Bob born", False),
        ("and Bob", "Bob was born in Rome.", False),  # nobody asked
        ("他在哪里？", "鲍勃在罗马。", True),
        ("他在哪里？", "鲍勃在哪里？", False),
        ("?", "", True),
    ],
)
def test_statements(question, rewrite, states):
    assert is_statement(question, rewrite) is states


def test_near_duplicates_are_those_a_full_comparison_finds():
    rng = np.random.default_rng(1)
    vocabulary = ["otter", "falcon", "salmon", "beetle", "horse", "whale", "parrot", "tiger"]
    texts = [" ".join(rng.choice(vocabulary, 9)) for _ in range(30)]
    texts += [f"{text} ok" for text in texts[:10]] + texts[:3] + ["", "a", "a"]
    found = near_duplicates(texts, 0.8)

    def likeness(i, j):
        a, b = grams(texts[i]), grams(texts[j])
        return len(a & b) / len(a | b)

    every = {(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts)) if likeness(i, j) >= 0.8}
    assert set(found) == every
    assert len(every) >= 13


def test_a_rewrite_that_repeats_in_other_conversations_is_a_twin():
    copied = "Who were the founders of Apple?"
    found = check_duplicates(
        [
            case(copied, id="1", group="a", question="and them"),
            case(copied + "!", id="2", group="b", question="what about it"),
            case("Where was Bob born?", id="3", group="c"),
            case("Where was Bob born?", id="4", group="d"),  # asked in the same words: no wonder
            case("Where was Eve born?", id="5", group="e", question="x"),
            case("Where was Eve born?", id="6", group="e", question="y"),  # one conversation
        ],
        "l",
        LIMITS,
    )
    assert found.flagged == ("1", "2")
    assert found.figures == {"twins": pytest.approx(1 / 3), "pairs": 1}
    assert len(found.warnings) == 1


def test_failures_and_their_reasons_are_counted():
    labels = [Label("rewrite", "x")] * 6
    labels += [Label("rewrite", "x", status="repaired", reason="label or quotes; later lines", attempts=3)] * 3
    labels += [Label("rewrite", None, raw="Sorry", status="malformed", reason="refusal")]
    found = check_failures(labels, "l", LIMITS)
    assert (found.figures["ok"], found.figures["repaired"], found.figures["malformed"]) == (0.6, 0.3, 0.1)
    assert found.figures["attempts_a_label"] == 1.6
    assert (found.figures["reason: later lines"], found.figures["reason: refusal"]) == (3, 1)
    assert "most: refusal" in found.warnings[0]
    assert found.examples == ("[refusal] Sorry",)
    assert check_failures([Label("rewrite", None, status="malformed")], "l", LIMITS).warnings[0].count("no reason") == 1


def test_agreement_of_rewriters_by_hand():
    found = check_text_agreement({"a": {"1": "x y", "2": "p"}, "b": {"1": "Y z", "3": "q"}, "c": {"9": "r"}}, LIMITS)
    (pair,) = found
    assert (pair.subject, pair.n, pair.figures) == ("a and b", 1, {"token_f1": 0.5, "identical": 0.0})
    (same,) = check_text_agreement({"a": {"1": "x"}, "b": {"1": "X!"}}, LIMITS)
    assert "gains nothing" in same.warnings[0]


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, (2, 9), elements=st.integers(0, 4).map(float)))
def test_spearman_is_scipys(scores):
    a, b = scores
    found = spearman(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(a, b).statistic)


def test_agreement_of_scorers():
    up, down = np.arange(20.0), -np.arange(20.0)
    (found,) = check_score_agreement({"a": [up, up], "b": [up, down]}, LIMITS)
    assert found.figures == {"spearman": pytest.approx(0), "shared_top_10": 0.5}
    assert len(found.warnings) == 1
    assert check_score_agreement({"a": [np.ones(3)], "b": [up[:3]]}, LIMITS) == []
    with pytest.raises(LabelError, match="differ in length"):
        check_score_agreement({"a": [up], "b": [up[:3]]}, LIMITS)


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(2, 12), elements=st.integers(-40, 40).map(lambda x: x / 4)), st.floats(1.5, 9)
)
def test_the_temperature_is_the_one_the_objectives_find(scores, target):
    row, mask = torch.from_numpy(scores)[None], torch.ones(1, len(scores), dtype=torch.bool)
    found = entropy_temperature(scores, target)
    assert effective_documents(scores, 0.7) == pytest.approx(float(torch_documents(row, mask, 0.7)[0]), rel=1e-9)
    if scores.max() == scores.min():
        assert found is None
    else:
        assert found == pytest.approx(float(torch_temperature(row, mask, target)[0]), rel=1e-6)
    assert entropy_temperature(scores[:1], target) is None
    assert entropy_temperature(scores[:0], target) is None


def test_effective_documents_by_hand():
    assert effective_documents(np.zeros(5)) == pytest.approx(5)
    assert effective_documents(np.array([1e9, 0.0])) == pytest.approx(1)
    p = 1 / (1 + exp(-1))
    assert effective_documents(np.array([2.0, 1.0])) == pytest.approx(exp(-p * log(p) - (1 - p) * log(1 - p)))


def test_spread_and_targets():
    lists = [np.array([8.0, 4.0, 0.0, 0.0]), np.array([4.0, 2.0, 0.0, 0.0]), np.ones(4), np.ones(1)]
    found = check_spread(lists, "l", LIMITS, scale="")
    assert found.n == 3
    assert found.figures["constant"] == pytest.approx(1 / 3)
    assert found.figures["range"] == 4
    taus = [entropy_temperature(one, 4.0) for one in lists[:2]]
    assert taus[0] == pytest.approx(2 * taus[1])
    assert found.figures["suggested_tau"] == pytest.approx(np.mean(taus))
    assert [warning.split(" → ")[0][:8] for warning in found.warnings] == ["1 contex", "the scor"]
    cold, hot = check_targets(lists, "l", LIMITS, tau=0.01), check_targets(lists, "l", LIMITS, tau=1000)
    assert (cold.figures["one_hot"], cold.figures["flat"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (hot.figures["one_hot"], hot.figures["flat"]) == (0, 1)
    assert "one-hot at τ = 0.01" in cold.warnings[1]
    assert "→ raise τ" in cold.warnings[1]
    assert check_targets([np.ones(3)], "l", LIMITS).warnings[0].endswith("other candidates")
    assert check_targets([], "l", LIMITS).n == check_spread([], "l", LIMITS).n == 0


def test_gold_rank_by_hand():
    scores, gold = np.array([3.0, 1.0, 2.0, 1.0]), np.array([False, True, False, True])
    assert gold_rank(scores, gold) == 3.5
    assert gold_rank(scores, ~gold) == 1
    assert gold_rank(scores, np.zeros(4, bool)) is None
    found = check_gold(
        [scores, scores, scores], [gold, ~gold, np.zeros(4, bool)], "l", Limits(gold_top=1, gold_share=0.6)
    )
    assert found.n == 2
    assert found.figures["MRR"] == pytest.approx((1 / 3.5 + 1) / 2)
    assert (found.figures["in_top_1"], found.figures["median"]) == (0.5, 2.25)
    assert found.figures["not_among_candidates"] == pytest.approx(1 / 3)
    assert len(found.warnings) == 1
    assert check_gold([scores], [np.zeros(4, bool)], "l", LIMITS).n == 0


def test_listwise_faults_by_hand():
    labels = {
        "1": Label("order", ["a", "b"]),
        "2": Label("order", ["b", "a"], status="repaired", reason="missing:1; repeated:2"),
        "3": Label("order", ["b", "x"]),
        "4": Label("order", None, status="malformed", reason="no order in it; missing:2"),
    }
    found = check_listwise(labels, "l", LIMITS, {name: ["a", "b"] for name in labels})
    assert found.figures == {
        "with_missing": 0.75, "with_repeated": 0.25, "with_invented": 0.25,
        "missing_ids": 4, "repeated_ids": 2, "invented_ids": 1, "as_shown": pytest.approx(1 / 3),
    }  # fmt: skip
    assert len(found.warnings) == 2
    assert "as_shown" not in check_listwise(labels, "l", LIMITS).figures


def contexts():
    chat = [("Who is Ann's son?", "Bob is."), ("Where was he born?", "Bob was born in Rome, Italy, on Monday.")]
    questions = ["Who is Ann's son?", "Where was he born?", "And when exactly?"]
    return [
        Context(f"c{i}", Conversation.from_pairs(chat[:i], question), group="g", relevant={"d1": 1} if i else {})
        for i, question in enumerate(questions)
    ]


def test_cases_are_follow_ups_with_the_answer_that_came():
    found = cases(contexts(), {"c0": "first", "c1": "Where was Bob born?", "c2": "When was Bob born?", "z": "?"})
    assert [one.id for one in found] == ["c1", "c2"]
    assert found[0].answer == "Bob was born in Rome, Italy, on Monday."
    assert (found[1].answer, found[1].asked) == ("", ("Who is Ann's son?", "Where was he born?"))


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "l.db") as opened:
        yield opened


def test_the_audit_of_a_store_makes_every_check_it_can(store, tmp_path):
    def put(teacher, i, label):
        store.put(LabelRequest(teacher, "m", "p", [teacher, i, str(label.value)], context_id=f"c{i}"), label)

    put("llm", 1, Label("rewrite", "stale answer, replaced below"))
    put("llm", 1, Label("rewrite", "Was Bob born in Rome, Italy on Monday?"))
    put("llm", 2, Label("rewrite", "When exactly was Bob born?"))
    put("human", 1, Label("rewrite", "Where was Bob born?"))
    put("judge", 1, Label("scores", {"d1": 0.0, "d2": 5.0, "d3": 1.0}))
    put("judge", 2, Label("scores", None, status="malformed", reason="empty"))
    put("ranker", 1, Label("order", ["d1", "d2"], status="repaired", reason="missing:1"))
    report = audit_store(store, contexts(), Limits(gold_top=1))
    found = {(check.name, check.subject): check for check in report.checks}
    assert found["replies", "judge (scores)"].figures["malformed"] == 0.5
    assert found["gold rank", "judge (scores)"].figures["median"] == 3
    assert found["gold rank", "ranker (order)"].figures["MRR"] == 1
    assert found["order", "ranker (order)"].figures["missing_ids"] == 1
    assert found["answers", "llm"].figures["leaking"] == 1.0
    assert found["length", "llm"].n == 2
    assert found["agreement", "llm and human"].n == 1
    assert any("scale was not stored" in text for text in report.warnings)
    assert report.flagged["llm"]["answers"] == ("c1",)
    assert {check.subject for check in audit_store(store, teachers=["human"]).checks} == {"human (rewrite)"}
    path = report.save(tmp_path / "run")
    saved = json.loads(path.read_text())
    assert saved == json.loads(report.to_json())
    assert len(saved["checks"]) == len(report.checks)
    assert saved["warnings"] == list(report.warnings)
    text = (tmp_path / "run" / "audit.txt").read_text()
    assert text == report.text() + "\n"
    assert text.startswith(f"audit: {len(report.checks)} checks, {len(report.warnings)} warnings\n")
    assert all(f"! {warning}" in text for warning in report.warnings)
    assert all(" → " in warning for warning in report.warnings)


def test_an_audit_of_score_arrays():
    lists, golds = [np.array([2.0, 1.0]), np.array([0.0, 3.0])], [np.array([True, False])] * 2
    report = audit_scores({"a": lists, "b": lists}, golds)
    assert [check.name for check in report.checks] == ["score spread", "targets", "gold rank"] * 2 + [
        "agreement of scores"
    ]
    assert report.checks[2].figures["MRR"] == 0.75


def test_a_label_cannot_draw_on_the_terminal_and_nothing_is_nothing():
    report = AuditReport((Check("x", "llm", 1, {}, ("bad\x1b[31m\nnews → cure",), ("a\x1b]0;b\n" + "y" * 500,)),))
    assert "\x1b" not in report.text()
    assert report.text().count("\n") == 3
    assert max(map(len, report.text().splitlines())) < 420
    assert AuditReport(()).text() == "audit: 0 checks, 0 warnings"
    assert audit_rewrites([], {}).checks == ()


rewrites = st.dictionaries(st.sampled_from(["c0", "c1", "c2"]), st.text(max_size=30))


@settings(max_examples=30, deadline=None)
@given(rewrites, rewrites)
def test_any_rewrites_can_be_audited(one, other):
    report = audit_rewrites(contexts(), {"one": one, "other": other})
    json.loads(report.to_json())
    assert report.text()
    for check in report.checks:
        assert all(np.isfinite(value) for value in check.figures.values())
