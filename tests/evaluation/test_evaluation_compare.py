"""Comparisons: cells, corrections, turn depth, corpora, JSON and plain text."""

import dataclasses
import json

import numpy as np
import pytest

from distillir.errors import EvaluationError
from distillir.evaluation import (
    CorpusFlops,
    Latency,
    SystemResult,
    bootstrap_intervals,
    clusters,
    compare,
    evaluate,
    flops_over_corpora,
    holm,
    sign_flip_test,
)

QUERIES = [f"c{c}_{t}" for c in range(12) for t in range(1, 2 + c % 8)]
QRELS = {q: {f"{q}-gold": 1, f"{q}-other": 0} for q in QUERIES}
DEPTH = {q: int(q.split("_")[1]) for q in QUERIES}
GROUP = {q: q.split("_")[0] for q in QUERIES}
CORPUS = {q: "finance" if int(GROUP[q][1:]) % 3 else "cloud" for q in QUERIES}


def system(name, hit, cost=None, **more):
    """Finds the gold at rank 1 with probability `hit`, else at rank 2."""
    rng = np.random.default_rng(len(name))
    run = {q: {f"{q}-gold": float(rng.random() < hit), f"{q}-other": 0.5} for q in QUERIES}
    if cost is None:
        return SystemResult(name, run, **more)
    active = {q: float(cost + DEPTH[q]) for q in QUERIES}
    return SystemResult(name, run, active=active, flops={q: a / 8 for q, a in active.items()}, **more)


SYSTEMS = [
    system("last turn", 0.2, 20, latency=Latency(1.5, 2.0, 4.0, 40)),
    system("student", 0.9, 10, note="one seed"),
    system("plain bm25", 0.3),
]


@pytest.fixture(scope="module")
def comparison():
    return compare(SYSTEMS, QRELS, DEPTH, GROUP, "last turn", seed=4, corpus=CORPUS, resamples=2000)


def test_cells_are_the_parts_put_together(comparison):
    cluster = clusters(sorted(QUERIES), GROUP)
    base, ours, bm25 = (evaluate(s.run, QRELS).of("MRR") for s in SYSTEMS)
    cell = comparison.cells["student"]["mrr"]
    assert cell.mean == pytest.approx(ours.mean())
    spread = bootstrap_intervals(ours, cluster, resamples=2000, seed=4)
    assert (cell.low, cell.high) == (pytest.approx(spread.low[0]), pytest.approx(spread.high[0]))
    change = bootstrap_intervals(ours - base, cluster, resamples=2000, seed=4)
    assert (cell.delta, cell.delta_low, cell.delta_high) == pytest.approx(tuple(float(part[0]) for part in change))
    p = [float(sign_flip_test(x - base, cluster, resamples=2000, seed=4)[0]) for x in (ours, bm25)]
    assert cell.p == p[0]
    assert [comparison.cells[n]["mrr"].p_holm for n in ("student", "plain bm25")] == pytest.approx(holm(p).tolist())
    assert comparison.significant(cell)
    assert not comparison.significant(comparison.cells["plain bm25"]["mrr"])


def test_a_column_only_some_systems_have_is_a_family_of_those(comparison):
    active = comparison.cells["student"]["active"]
    assert active.delta == pytest.approx(-10)
    assert (active.delta_low, active.delta_high) == (pytest.approx(-10), pytest.approx(-10))
    assert active.p == active.p_holm  # bm25 states none, so nothing to correct for
    assert "active" not in comparison.cells["plain bm25"]


def test_the_baseline_has_no_change(comparison):
    for cell in comparison.cells["last turn"].values():
        assert (cell.delta, cell.delta_low, cell.delta_high, cell.p, cell.p_holm) == (None,) * 5
        assert not comparison.significant(cell)


def test_other_systems_do_not_move_an_interval(comparison):
    fewer = compare(SYSTEMS[:2], QRELS, DEPTH, GROUP, "last turn", seed=4, corpus=CORPUS, resamples=2000)
    for key, cell in fewer.cells["student"].items():
        other = comparison.cells["student"][key]
        for field in dataclasses.asdict(cell).keys() - {"p_holm"}:
            assert getattr(other, field) == pytest.approx(getattr(cell, field), abs=1e-12), (key, field)


def test_turn_depth(comparison):
    points = comparison.depth["mrr"]["student"]
    assert [p.bucket for p in points] == ["1", "2", "3", "4", "5", "6+"]
    assert sum(p.queries for p in points) == len(QUERIES)
    values = dict(zip(sorted(QUERIES), evaluate(SYSTEMS[1].run, QRELS).of("RR"), strict=True))
    for point, wanted in zip(points, ({1}, {2}, {3}, {4}, {5}, {6, 7, 8}), strict=True):
        inside = [values[q] for q in QUERIES if DEPTH[q] in wanted]
        assert point.queries == len(inside)
        assert point.mean == pytest.approx(np.mean(inside))
        assert point.low <= point.mean <= point.high
    assert [p.mean for p in comparison.depth["active"]["student"][:5]] == [11, 12, 13, 14, 15]
    assert set(comparison.depth["flops"]) == {"last turn", "student"}


def test_a_bucket_of_one_conversation_and_an_empty_one():
    depth = {q: (9 if GROUP[q] == "c3" else 1) for q in QUERIES}
    points = compare(SYSTEMS[2:], QRELS, depth, GROUP, resamples=200).depth["r10"]["plain bm25"]
    assert [(p.bucket, p.low is None) for p in points] == [("1", False), ("6+", True)]


def test_flops_name_their_corpus(comparison):
    assert comparison.columns["flops"] == "flops@2 corpora"
    parts = comparison.flops_by_corpus["student"]
    counts = comparison.facts.corpora
    assert counts == {q: list(CORPUS.values()).count(q) for q in ("cloud", "finance")}
    weighted = flops_over_corpora([CorpusFlops(c, f, counts[c]) for c, f in parts.items()])
    assert comparison.cells["student"]["flops"].mean == pytest.approx(weighted)
    one = compare(SYSTEMS[:1], QRELS, corpus="fiqa", resamples=50)
    assert one.columns["flops"] == "flops@fiqa"
    for corpus in (None, dict.fromkeys(QUERIES[1:], "x"), ""):
        with pytest.raises(EvaluationError, match=r"no named corpus, first 'c0_1'"):
            compare(SYSTEMS, QRELS, corpus=corpus)


def test_table_and_json(comparison):
    rows = comparison.table()
    assert [row["system"] for row in rows] == ["last turn", "student", "plain bm25"]
    assert [row["baseline"] for row in rows] == [True, False, False]
    for key in ("r10", "r100", "ndcg3", "ndcg10", "mrr", "active", "flops"):
        assert rows[1][f"{key}_low"] <= rows[1][key] <= rows[1][f"{key}_high"]
        assert rows[1][f"{key}_delta_low"] <= rows[1][f"{key}_delta"] <= rows[1][f"{key}_delta_high"]
        assert 0 < rows[1][f"{key}_p"] <= rows[1][f"{key}_p_holm"] <= 1
    assert rows[0]["mrr_delta"] is None
    assert rows[2]["active"] is None
    assert rows[2]["flops_p"] is None
    assert (rows[0]["latency_median_ms"], rows[0]["latency_n"]) == (1.5, 40)
    assert rows[1]["latency_median_ms"] is None
    assert rows[1]["notes"] == ["one seed"]
    content = json.loads(comparison.to_json())
    assert content["systems"] == rows
    assert content["facts"] == {
        "queries": len(QUERIES),
        "conversations": 12,
        "with_gold": len(QUERIES),
        "corpora": {"cloud": CORPUS_COUNT, "finance": len(QUERIES) - CORPUS_COUNT},
        "level": 0.95,
        "resamples": 2000,
        "seed": 4,
    }
    assert content["depth"]["r100"]["student"][0]["bucket"] == "1"


CORPUS_COUNT = list(CORPUS.values()).count("cloud")


def test_text_is_aligned_and_complete(comparison):
    text = comparison.text()
    summary, systems, quality, active, notes = text.split("\n\n")
    assert "'last turn'" in summary
    assert "cloud (" in summary
    lines = systems.splitlines()
    means = [line for line in lines if line[0] != " "]  # the others have no latency
    assert len({len(line) for line in (lines[0], *means)}) == 1
    assert len({len(line) for line in lines[1:] if line not in means}) == 1
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "last turn (baseline)",
        "",
        *["student", "", "", "", ""],
        *["plain bm25", "", "", "", ""],
    ]
    assert f"{comparison.cells['student']['mrr'].delta:+.3f}*" in systems
    assert "1.5 ms" in systems
    assert "n/a" in lines[-5]
    assert quality.startswith("R@100 by turn")
    assert active.startswith("active dims by turn")
    assert notes == "student: one seed"


def test_wide_letters_keep_the_columns():
    named = [SystemResult(name, SYSTEMS[0].run) for name in ("人工改写", "e\u0301tude", "plain")]
    lines = compare(named, QRELS, resamples=50).text().splitlines()
    wide, accented, plain = (next(line for line in lines if line.startswith(s.name)) for s in named)
    # Two columns for each of four letters, none for the accent.
    assert len(wide) + 4 == len(accented) - 1 == len(plain)


def test_missing_queries_are_said(comparison):
    partial = SystemResult("partial", {q: SYSTEMS[0].run[q] for q in QUERIES[5:]})
    got = compare([partial], QRELS, resamples=50)
    assert got.notes["partial"] == ["5 judged queries got no result and count 0"]
    assert "5 judged queries" in got.text()
    assert comparison.notes["last turn"] == []


def test_defaults_need_neither_depth_nor_conversations():
    got = compare(SYSTEMS[2:], QRELS, resamples=50)
    assert got.depth == {}
    assert got.facts.conversations == len(QUERIES)
    assert got.baseline == "plain bm25"
    assert list(got.columns) == ["r10", "r100", "ndcg3", "ndcg10", "mrr"]


def test_one_conversation_has_no_interval():
    got = compare(SYSTEMS[:2], QRELS, group=dict.fromkeys(QUERIES, "only"), corpus="c", resamples=50)
    cell = got.cells["student"]["mrr"]
    assert (cell.low, cell.high, cell.delta_low, cell.p) == (None, None, None, 1.0)
    assert json.loads(got.to_json())["systems"][1]["mrr_low"] is None
    assert "n/a" in got.text()


def test_own_measures():
    got = compare(SYSTEMS[2:], QRELS, measures=("P@1", "RR@10"), resamples=50)
    assert got.columns == {"p1": "P@1", "mrr10": "MRR@10"}
    assert got.headline == "p1"


def test_refusals():
    with pytest.raises(EvaluationError, match="no system"):
        compare([], QRELS)
    with pytest.raises(EvaluationError, match="two systems are called 'plain bm25'"):
        compare([SYSTEMS[2], SYSTEMS[2]], QRELS)
    with pytest.raises(EvaluationError, match="baseline 'teacher' is not among"):
        compare(SYSTEMS, QRELS, baseline="teacher", corpus="c")
    short = SystemResult("short", SYSTEMS[0].run, active=dict.fromkeys(QUERIES[2:], 1.0))
    with pytest.raises(EvaluationError, match=rf"short: 2 of {len(QUERIES)} judged queries have no active value"):
        compare([short], QRELS)
    broken = SystemResult("broken", SYSTEMS[0].run, active=dict.fromkeys(QUERIES, float("nan")))
    with pytest.raises(EvaluationError, match="not a finite number"):
        compare([broken], QRELS)
    for name, note in (("", ""), (" ", ""), ("a\nb", ""), ("a\x1b[31m", ""), ("a", "b\r")):
        with pytest.raises(EvaluationError, match=r"name|control characters"):
            SystemResult(name, {}, note=note)
