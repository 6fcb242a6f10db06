"""Retrieval measures per query, computed by ir-measures over every judged query.

ir-measures: https://ir-measur.es (MacAvaney et al., "Streamlining Evaluation with ir-measures", ECIR 2022).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
from numpy.typing import NDArray

from distillir.errors import EvaluationError

Qrels = dict[str, dict[str, int]]
"""Query id to document id to grade; a grade of 1 or more is relevant."""
Run = dict[str, dict[str, float]]
"""Query id to document id to score; higher is better."""

DEFAULT_MEASURES = ("R@10", "R@100", "nDCG@3", "nDCG@10", "RR")


@dataclass(frozen=True)
class PerQuery:
    """What a run scores on every judged query.

    Attributes:
        query_ids: (Q,) judged queries, sorted.
        measures: (M,) names as ir-measures writes them, `RR` for the mean reciprocal rank.
        values: (Q, M) float64; a judged query that the run does not hold scores 0.
        missing: judged queries that the run does not hold or answers with an empty list.
        ignored: queries of the run that nobody judged; they count nowhere.
        without_gold: judged queries without a relevant document; they score 0 whatever is retrieved.
    """

    query_ids: tuple[str, ...]
    measures: tuple[str, ...]
    values: NDArray[np.float64]
    missing: int
    ignored: int
    without_gold: int

    def of(self, measure: str) -> NDArray[np.float64]:
        """(Q,) values of one measure, by name or alias (`MRR` is `RR`)."""
        name = str(parse_measure(measure))
        if name not in self.measures:
            raise EvaluationError(
                f"{name} was not computed, only {', '.join(self.measures)}", "name it when you call evaluate()"
            )
        return self.values[:, self.measures.index(name)]

    @property
    def means(self) -> dict[str, float]:
        """Mean of each measure over all judged queries."""
        return dict(zip(self.measures, map(float, self.values.mean(axis=0)), strict=True))

    def table(self) -> list[dict[str, str | float]]:
        """One row a query: its id and its value under each measure."""
        rows = zip(self.query_ids, self.values.tolist(), strict=True)
        return [{"query_id": qid, **dict(zip(self.measures, row, strict=True))} for qid, row in rows]

    def notes(self) -> list[str]:
        """What a reader of the means must know: queries that count 0 and queries that do not count."""
        facts = (
            (self.missing, "judged queries got no result and count 0"),
            (self.without_gold, "judged queries have no relevant document and count 0"),
            (self.ignored, "queries of the run are not judged and do not count"),
        )
        return [f"{count} {what}" for count, what in facts if count]


def evaluate(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[str] = DEFAULT_MEASURES,
) -> PerQuery:
    """Score a run on every judged query.

    Documents are ordered by score; equal scores by document id, descending, as trec_eval does. That order is fixed
    here because the backends behind ir-measures break ties differently (`RR` and `RR@10` would disagree).

    Args:
        run: scores by query and document.
        qrels: grades by query and document; a negative grade counts as 0.
        measures: names that ir-measures reads, such as `nDCG@10`, `RR@10`, `P(rel=2)@5`.

    Raises:
        EvaluationError: no query in common, a score that is not finite, a grade that is not an integer, a measure
            that is unknown or whose backend is missing.
    """
    parsed = list(dict.fromkeys(map(parse_measure, measures)))
    if not parsed:
        raise EvaluationError("no measure to compute", f"use for example {', '.join(DEFAULT_MEASURES)}")
    grades = {qid: _grades(qid, judged) for qid, judged in qrels.items()}
    shared = sorted(grades.keys() & run.keys())
    if not shared:
        raise EvaluationError(
            f"the run's {len(run)} queries and the {len(grades)} judged queries have none in common "
            f"(run: {_some(run)}; judged: {_some(grades)})",
            "check that both use the same query ids",
        )
    ranked = {qid: order for qid in shared if (order := _ranked(qid, run[qid]))}
    query_ids = tuple(sorted(grades))
    row = {qid: i for i, qid in enumerate(query_ids)}
    column = {measure: i for i, measure in enumerate(parsed)}
    values = np.zeros((len(query_ids), len(parsed)))
    for metric in _calculate(parsed, {qid: judged for qid, judged in grades.items() if judged}, ranked):
        values[row[metric.query_id], column[metric.measure]] = metric.value
    if not np.isfinite(values).all():
        bad = parsed[int(np.argmin(np.isfinite(values).all(axis=0)))]
        raise EvaluationError(f"{bad} is not a number on some query", "choose a measure that is defined on every query")
    return PerQuery(
        query_ids=query_ids,
        measures=tuple(map(str, parsed)),
        values=values,
        missing=len(grades) - len(ranked),
        ignored=len(run.keys() - grades.keys()),
        without_gold=sum(not any(grade > 0 for grade in judged.values()) for judged in grades.values()),
    )


def parse_measure(name: str) -> Any:
    """The ir-measures object that a name stands for; `MRR` is read as `RR`.

    Raises:
        EvaluationError: no such measure.
    """
    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, AssertionError) as error:
        raise EvaluationError(f"unknown measure {name!r}: {error}", f"use for example {DEFAULT_MEASURES[0]}") from error


def measure_key(name: str) -> str:
    """Short name for columns: `R@10` is `r10`, `nDCG@3` is `ndcg3`, `RR` is `mrr`, `P(rel=2)@5` is `p_rel_2_5`."""
    words = re.findall(r"[^\W_]+", re.sub(r"^RR\b", "MRR", name).lower())
    return "_".join(words) if "(" in name else "".join(words)


def _grades(qid: str, judged: Mapping[str, int]) -> dict[str, int]:
    for doc, grade in judged.items():
        if not isinstance(grade, int | np.integer):
            raise EvaluationError(f"query {qid!r}, document {doc!r}: grade {grade!r}", "grades are integers")
    return {doc: max(0, int(grade)) for doc, grade in judged.items()}


def _ranked(qid: str, scores: Mapping[str, float]) -> dict[str, float]:
    """The same order as whole numbers N…1, which no backend can round or reorder."""
    for doc, score in scores.items():
        if not isinstance(score, float | int | np.floating) or not math.isfinite(score):
            raise EvaluationError(f"query {qid!r}, document {doc!r}: score {score!r}", "scores must be finite numbers")
    best_first = sorted(scores, key=lambda doc: (scores[doc], doc), reverse=True)
    return {doc: float(len(best_first) - rank) for rank, doc in enumerate(best_first)}


def _calculate(measures: list[Any], qrels: Qrels, run: Run) -> list[Any]:
    # Only the top-level function picks a backend that honours every parameter: pytrec_eval used directly drops
    # the cutoff of RR without a word.
    try:
        return list(ir_measures.iter_calc(measures, qrels, run))
    except Exception as error:  # backends raise whatever they like, from ValueError to a failed subprocess
        names = ", ".join(map(str, measures))
        raise EvaluationError(f"ir-measures cannot compute {names}: {error}", "drop the measure it names") from error


def _some(queries: Mapping[str, object]) -> str:
    return ", ".join(sorted(map(repr, queries))[:3]) or "none"
