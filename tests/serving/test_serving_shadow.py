"""Shadow mode, its report, the calibrated confidence and the fallback, against an endpoint over real HTTP."""

import json
import math
import stat
import time
from dataclasses import replace

import numpy as np
import pytest
from language_model import LanguageModel
from served import CHAT, messages

from distillir.errors import ConfigError, DataError, EvaluationError
from distillir.serving import Rewriter, ShadowSettings, Source, open_service, read_shadow, shadow_report
from distillir.serving.confidence import Confidence, calibrate, features
from distillir.serving.shadow import ShadowLog, ShadowRow, overlap, rank_correlation
from distillir.teachers import Prices


@pytest.fixture
def model():
    made = LanguageModel()
    yield made
    made.close()


def rewriter(model, **options):
    return Rewriter.at(model.url, "rule", "", 5.0, **options)


def rows_of(service, count):
    """The shadow log once it has so many rows: they are written after the reply."""
    path = service.service.shadowing.log.path
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and len(rows := read_shadow(path)) >= count:
            return rows
        time.sleep(0.02)
    raise AssertionError("no rows")


def test_overlap_and_rank_correlation_by_hand():
    assert overlap("abc", "cba") == 1.0
    assert overlap("abcd", "abxy") == 0.5
    assert overlap("ab", "abcd") == 0.5
    assert overlap("", "") == 1.0
    assert overlap("", "a") == 0.0
    assert overlap("abc", "cab", k=1) == 0.0
    assert rank_correlation("abc", "abc") == 1.0
    assert rank_correlation("abc", "cba") == -1.0
    # a b c d against a b d c: five pairs agree, one does not: (5 - 1) / 6
    assert rank_correlation("abcd", "abdc") == pytest.approx(4 / 6)
    # a b | a c with k=2, absent = 2. places of a, b, c: (0, 1, 2) and (0, 2, 1): two agree, one does not
    assert rank_correlation("ab", "ac", k=2) == pytest.approx(1 / 3)
    assert rank_correlation("a", "a") == 1.0
    assert rank_correlation("", "") == 1.0


def test_a_share_of_requests_is_picked_by_name():
    names = [f"{i:x}" for i in range(4000)]
    picked = [ShadowSettings(0.25).picks(name) for name in names]
    assert 0.22 < np.mean(picked) < 0.28
    assert picked == [ShadowSettings(0.25).picks(name) for name in names]
    assert not any(ShadowSettings(0.0).picks(name) for name in names)
    assert all(ShadowSettings(1.0).picks(name) for name in names)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        ShadowSettings(1.5)


def test_the_rewriters_hits_are_compared_after_the_reply_and_no_text_is_kept(live, model):
    prices = Prices(input=10.0, output=100.0, currency="EUR")
    service = live(rewriter=rewriter(model, prices=prices), shadow=ShadowSettings(1.0))
    reply = service.search(*CHAT)
    assert reply["answered_by"] == "student"
    (row,) = rows_of(service, 1)
    assert row.request == reply["request"]
    assert row.depth == 2
    assert (row.model, row.index) == (reply["served"]["model"], reply["served"]["index"])
    assert (row.prompt_tokens, row.completion_tokens) == (100, 7)
    assert (row.cost, row.currency) == (pytest.approx(100 * 10e-6 + 7 * 100e-6), "EUR")
    assert row.student == tuple(hit["id"] for hit in reply["hits"])
    assert row.rewrite[0] == "otter-home"
    assert row.overlap == overlap(row.student, row.rewrite)
    assert row.rewrite_ms > 0
    service.search("what does the tiger eat")  # a first turn: nobody is asked
    assert [r.depth for r in rows_of(service, 2)] == [2, 1]
    assert len(model.asked) == 1
    text = service.service.shadowing.log.path.read_text()
    assert "does" not in text
    assert stat.S_IMODE(service.service.shadowing.log.path.stat().st_mode) == 0o600
    service.search(*CHAT, rewrite={"text": "where does the otter live", "ms": 812.5, "prompt_tokens": 50})
    row = rows_of(service, 3)[2]
    assert (row.rewriter, row.rewrite_ms, row.prompt_tokens) == ("brought along", 812.5, 50)
    assert len(model.asked) == 1
    model.broken = True
    assert service.search(*CHAT[:2], "how big is it?")["hits"]
    row = rows_of(service, 4)[3]
    assert row.failure.startswith("server: ")
    metrics = service.client.get("/metrics").text
    assert 'distillir_shadow_total{outcome="compared"} 3.0' in metrics
    assert 'distillir_shadow_total{outcome="failed"} 1.0' in metrics


def test_texts_are_kept_where_that_was_asked_for_and_side_by_side_shows_the_rewrite(live, model):
    service = live(rewriter=rewriter(model), shadow=ShadowSettings(1.0, keep_texts=True))
    service.search(*CHAT)
    (row,) = rows_of(service, 1)
    assert row.texts == {"messages": messages(*CHAT), "rewrite": "where does the otter live"}
    shown = service.post("/v1/compare", {"messages": messages(*CHAT), "k": 3}).json()
    assert shown["rewrite"]["query"] == "where does the otter live"
    assert shown["rewrite"]["hits"][0]["id"] == "otter-home"
    assert shown["last_turn"]["query"] == CHAT[-1]
    assert shown["served"]["index"].endswith("-0")
    model.broken = True
    shown = service.post("/v1/compare", {"messages": messages(*CHAT), "k": 3}).json()
    assert shown["rewrite"] is None
    assert shown["failure"].startswith("server: ")


def confident(model, threshold):
    return Confidence(model, (1.0, 0.0, 0.0), 0.0, (0.0,) * 3, (1.0,) * 3, threshold, 0.1, 0.5, 40, ())


def test_low_confidence_asks_the_rewriter_and_a_dead_one_costs_nothing(live, model, run_folder, animal_run):
    run = run_folder()
    with pytest.raises(ConfigError, match="no calibrated confidence"):
        open_service(Source(run), rewriter=rewriter(model), fallback=True)
    student = open_service(Source(animal_run / "exact", state=run.parent / "peek"))
    version = student.current.searcher.version
    student.current.retire()
    student.journal.close()
    confident(version, 2.0).save(run / "confidence.json")  # never sure
    service = live(Source(run), rewriter=rewriter(model), fallback=True)
    reply = service.search(*CHAT)
    assert reply["answered_by"] == "rewrite"
    assert reply["hits"][0]["id"] == "otter-home"
    assert 0 < reply["confidence"] < 1
    assert reply["ms"]["rewrite"] > 0
    assert service.search("what does the tiger eat")["answered_by"] == "student"  # nothing to rewrite on a first turn
    model.broken = True
    assert service.search(*CHAT[:2], "how big is it?")["answered_by"] == "student"
    service.stop()
    confident(version, 0.0).save(run / "confidence.json")  # always sure
    model.broken = False
    asked = len(model.asked)
    sure = live(Source(run), rewriter=rewriter(model), fallback=True)
    assert sure.search(*CHAT)["answered_by"] == "student"
    assert len(model.asked) == asked
    sure.stop()
    confident("another-student", 0.0).save(run / "confidence.json")
    other = live(Source(run))
    assert other.search(*CHAT)["confidence"] is None


def test_features_by_hand():
    assert features([4.0, 3.0, 1.0]) == pytest.approx(
        [0.25, 0.5, -(0.5 * math.log(0.5) + 0.375 * math.log(0.375) + 0.125 * math.log(0.125)) / math.log(3)]
    )
    assert features([5.0]) == pytest.approx([1.0, 1.0, 0.0])
    assert features([2.0] * 10) == pytest.approx([0.0, 0.0, 1.0])


def drawn(n, rng):
    """Contexts whose best score stands out exactly where they are right, mostly."""
    scores, correct = [], []
    for _ in range(n):
        right = bool(rng.random() < 0.6)
        lead = rng.uniform(1.0, 3.0) if right != (rng.random() < 0.1) else rng.uniform(0.0, 0.4)
        rest = np.sort(rng.uniform(1, 2, 9))[::-1]
        scores.append([float(rest[0] + lead), *rest.tolist()])
        correct.append(right)
    return scores, correct


def test_a_confidence_is_calibrated_and_keeps_the_risk_on_others():
    rng = np.random.default_rng(1)
    scores, correct = drawn(600, rng)
    groups = [f"c{i // 3}" for i in range(600)]
    made = calibrate(scores, correct, groups, 0.15, "m")
    assert made.risk <= 0.15
    assert 0.4 < made.coverage < 0.8
    others, right = drawn(2000, rng)
    sure = np.array([made.of(own) for own in others])
    trusted = sure >= made.threshold
    assert np.mean(~np.array(right)[trusted]) < 0.2  # against 0.4 of all
    for low, high in ((0.0, 0.5), (0.5, 1.0)):  # what it says is about how often it is right
        inside = (sure >= low) & (sure < high)
        assert np.mean(np.array(right)[inside]) == pytest.approx(sure[inside].mean(), abs=0.06)
    assert made.of([]) == 0.0
    nothing = calibrate([*scores, []], [*correct, False], [*groups, "x"], 0.0, "m")
    assert nothing.contexts == 601
    assert nothing.threshold <= 2.0


def test_a_confidence_is_kept_as_json(tmp_path):
    made = calibrate(*drawn(60, np.random.default_rng(2)), [str(i) for i in range(60)], 0.3, "m")
    made.save(tmp_path / "c.json")
    assert Confidence.open(tmp_path / "c.json") == made
    (tmp_path / "c.json").write_text('{"model": "m"}')
    with pytest.raises(DataError, match="no calibration"):
        Confidence.open(tmp_path / "c.json")


def test_what_cannot_be_calibrated():
    scores, correct = drawn(60, np.random.default_rng(3))
    with pytest.raises(EvaluationError, match="nothing to calibrate by"):
        calibrate(scores, [True] * 60, ["a", "b"] * 30, 0.1, "m")
    with pytest.raises(EvaluationError, match="nothing to calibrate by"):
        calibrate(scores[:5], correct[:5], list("abcde"), 0.1, "m")
    with pytest.raises(EvaluationError, match="of one conversation"):
        calibrate(scores, correct, ["a"] * 60, 0.1, "m")


ROW = ShadowRow(
    "r", 1.0, 2, "m", "i", "llm", 0.8, 0.5, 10.0, 500.0, 100, 10, 0.002, "USD", 0.9, ("a",), ("b",)
)  # fmt: skip


def test_the_report_answers_with_numbers(tmp_path):
    rows = [replace(ROW, request=f"r{i}", overlap=0.5 if i % 2 else 0.9, confidence=i / 200) for i in range(200)]
    rows += [replace(ROW, depth=1, overlap=0.0), replace(ROW, failure="timeout: x", cost=0.0)]
    log = ShadowLog(tmp_path)
    for row in rows:
        log.write(row)
    assert read_shadow(tmp_path) == rows
    made = shadow_report(read_shadow(tmp_path), agree=0.6, worst=3)
    assert made.answer == "yes"
    assert (made.turns, made.first_turns, made.failed) == (200, 1, 1)
    assert made.overlap == pytest.approx(0.7)
    assert made.interval[0] < 0.7 < made.interval[1]
    assert made.interval[1] - made.interval[0] == pytest.approx(2 * 1.96 * 0.2 / math.sqrt(200), rel=0.15)
    assert made.student_ms == (10.0, 10.0)
    assert made.saved_ms == 490.0
    assert made.cost_1000 == pytest.approx(2.0)
    assert [row.overlap for row in made.differ] == [0.5] * 3
    assert len(made.by_confidence) == 4
    assert json.loads(made.to_json())["answer"] == "yes"
    assert "yes: the mean overlap is at least" in made.text()
    assert shadow_report(rows, agree=0.75).answer == "not yet"
    assert shadow_report(rows[:99]).answer == "too few turns"
    with pytest.raises(EvaluationError, match="no follow-up turn"):
        shadow_report(rows[200:])


def test_a_log_cut_short_is_read_and_another_file_is_not(tmp_path):
    ShadowLog(tmp_path).write(ROW)
    path = tmp_path / "shadow.jsonl"
    with path.open("ab") as file:
        file.write(b'{"request": "half')
    assert read_shadow(path) == [ROW]
    path.write_text('{"a": 1}\n')
    with pytest.raises(DataError, match=r"shadow.jsonl:1: no row of a shadow log"):
        read_shadow(path)
    with pytest.raises(DataError, match="No such file"):
        read_shadow(tmp_path / "none.jsonl")


def test_what_users_typed_cannot_drive_a_terminal():
    texts = {"messages": [{"role": "user", "content": "and\x1b[2Jit\r?"}], "rewrite": "x"}
    text = shadow_report([replace(ROW, texts=texts)]).text()
    assert "\x1b" not in text
    assert "\r" not in text
