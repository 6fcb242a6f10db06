"""Measures against hand-computed values, a second implementation, and the traps of the backends."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.errors import EvaluationError
from distillir.evaluation import DEFAULT_MEASURES, evaluate, measure_key

LOG3 = math.log2(3)


def test_values_computed_by_hand():
    qrels = {"q": {"a": 2, "b": 1, "c": 0, "e": 1}}
    run = {"q": {"x": 9.0, "a": 8.0, "b": 7.0, "c": 6.0}}  # relevant at ranks 2 and 3, e not found
    got = evaluate(run, qrels, ("R@2", "R@10", "nDCG@3", "RR", "RR@1", "nDCG@10")).means
    best = 2 + 1 / LOG3 + 1 / 2  # a, then b and e
    assert got["R@2"] == pytest.approx(1 / 3)
    assert got["R@10"] == pytest.approx(2 / 3)
    assert got["nDCG@3"] == pytest.approx((2 / LOG3 + 1 / 2) / best)
    assert got["nDCG@10"] == pytest.approx((2 / LOG3 + 1 / 2) / best)
    assert got["RR"] == 0.5
    assert got["RR@1"] == 0  # the cutoff is honoured: the first relevant document stands at rank 2


def test_every_judged_query_counts_and_no_other():
    qrels = {"found": {"a": 1}, "absent": {"a": 1}, "empty": {"a": 1}, "goldless": {"a": 0}, "unjudged": {}}
    run = {"found": {"a": 1.0}, "empty": {}, "goldless": {"a": 1.0}, "unjudged": {"a": 1.0}, "stray": {"a": 1.0}}
    scored = evaluate(run, qrels)
    assert scored.query_ids == ("absent", "empty", "found", "goldless", "unjudged")
    assert scored.of("RR").tolist() == [0, 0, 1, 0, 0]
    assert scored.means["R@10"] == pytest.approx(1 / 5)
    assert (scored.missing, scored.ignored, scored.without_gold) == (2, 1, 2)
    assert [note.split()[0] for note in scored.notes()] == ["2", "2", "1"]
    assert evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}).notes() == []


def test_ties_are_broken_alike_for_measures_of_different_backends():
    # trec_eval puts the larger id first; the backend of RR@k on its own would keep another order.
    for first, second in (("a", "z"), ("z", "a")):
        run = {"q": {first: 3.0, second: 3.0}}
        got = evaluate(run, {"q": {"a": 1}}, ("RR", "RR@10", "nDCG@10", "R@1"))
        assert got.values.tolist() == [[0.5, 0.5, pytest.approx(1 / LOG3), 0.0]]


@pytest.mark.parametrize("scores", [(1.0 + 1e-12, 1.0), (1e300, 1e299), (-1e-300, -1e299)])
def test_scores_beyond_single_precision_keep_their_order(scores):
    run = {"q": {"a": scores[0], "z": scores[1]}}  # a tie would put z first
    assert evaluate(run, {"q": {"a": 1}}, ("RR", "RR@1")).values.tolist() == [[1.0, 1.0]]


def test_negative_grades_count_as_zero():
    run = {"q": {"spam": 2.0, "good": 1.0}}
    got = evaluate(run, {"q": {"spam": -2, "good": 1}}, ("nDCG@3", "R@1", "RR"))
    assert got.values.tolist() == [[pytest.approx(1 / LOG3), 0.0, 0.5]]


def test_numpy_numbers_are_numbers():
    run = {"q": {"a": np.float32(2), "b": np.float64(1)}}
    assert evaluate(run, {"q": {"b": np.int64(1)}}, ("RR",)).means == {"RR": 0.5}


def test_table_and_aliases():
    scored = evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}, "r": {"b": 1}}, ("MRR", "RR", "R@10"))
    assert scored.measures == ("RR", "R@10")
    assert scored.table() == [
        {"query_id": "q", "RR": 1.0, "R@10": 1.0},
        {"query_id": "r", "RR": 0.0, "R@10": 0.0},
    ]
    assert scored.of("MRR").tolist() == [1.0, 0.0]
    with pytest.raises(EvaluationError, match="nDCG@3 was not computed"):
        scored.of("nDCG@3")


def test_column_keys():
    assert [measure_key(m) for m in DEFAULT_MEASURES] == ["r10", "r100", "ndcg3", "ndcg10", "mrr"]
    assert measure_key("RR@10") == "mrr10"
    assert measure_key("Rprec") == "rprec"
    assert measure_key("P(rel=2)@5") == "p_rel_2_5"
    assert measure_key("α_nDCG@10") == "αndcg10"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, "3", None])
def test_a_score_that_is_no_finite_number_is_refused(score):
    with pytest.raises(EvaluationError, match=r"query 'q', document 'd'"):
        evaluate({"q": {"a": 1.0, "d": score}}, {"q": {"a": 1}})


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match=r"none in common.*run: 'x'; judged: 'q'"):
        evaluate({"x": {"a": 1.0}}, {"q": {"a": 1}})
    with pytest.raises(EvaluationError, match="none in common"):
        evaluate({}, {})
    with pytest.raises(EvaluationError, match=r"grade 0\.5"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 0.5}})
    with pytest.raises(EvaluationError, match="no measure"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ())


@pytest.mark.parametrize("measure", ["nothing@10", "nDCG@x", "R@-1", "import os", "R"])
def test_unknown_and_unfinished_measures_are_refused(measure):
    with pytest.raises(EvaluationError, match=r"measure|cannot compute"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, (measure,))


documents = st.sampled_from([f"d{i}" for i in range(12)])
queries = st.sampled_from([f"q{i}" for i in range(5)])
judgements = st.dictionaries(queries, st.dictionaries(documents, st.integers(-1, 3), max_size=8), min_size=1)
rankings = st.dictionaries(
    queries, st.dictionaries(documents, st.sampled_from([-1.5, 0.0, 0.25, 1.0, 7.0]), max_size=12), min_size=1
)


def by_numpy(run, qrels, query):
    """Recall, nDCG and reciprocal rank from their definitions."""
    grade = {d: max(0, g) for d, g in qrels[query].items()}
    order = sorted(sorted(run.get(query, {}), reverse=True), key=lambda d: -run[query][d])
    gain = np.array([grade.get(d, 0) for d in order], float)
    ideal = np.sort(np.array(list(grade.values()), float))[::-1]

    def dcg(gains, k):
        top = gains[:k]
        return (top / np.log2(np.arange(2, len(top) + 2))).sum()

    relevant = (ideal > 0).sum()
    hits = np.flatnonzero(gain > 0)
    return {
        "R@2": (gain[:2] > 0).sum() / relevant if relevant else 0,
        "nDCG@3": dcg(gain, 3) / dcg(ideal, 3) if relevant else 0,
        "nDCG@10": dcg(gain, 10) / dcg(ideal, 10) if relevant else 0,
        "RR": 1 / (hits[0] + 1) if len(hits) else 0,
        "RR@3": 1 / (hits[0] + 1) if len(hits) and hits[0] < 3 else 0,
    }


@settings(max_examples=50, deadline=None)
@given(rankings, judgements)
def test_against_a_second_implementation(run, qrels):
    if not run.keys() & qrels.keys():
        with pytest.raises(EvaluationError):
            evaluate(run, qrels)
        return
    scored = evaluate(run, qrels, ("R@2", "nDCG@3", "nDCG@10", "RR", "RR@3"))
    assert set(scored.query_ids) == set(qrels)
    for row in scored.table():
        expected = by_numpy(run, qrels, row.pop("query_id"))
        assert row == pytest.approx(expected, abs=1e-9)


def test_import_loads_no_model_library_and_no_plots():
    code = (
        "import sys, distillir.evaluation; "
        "print([m for m in ('torch', 'transformers', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
