"""Scores of candidates, made of one label for each pair of a context and a candidate.

A pair is a label of kind "responses" of the teacher `NAME/pairs`: the text asked for, with its log-likelihood.
The scores of a context are computed from its pairs, so another formula costs no call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from distillir.labels import Label, LabelRequest
from distillir.labels.parsing import join_reasons
from distillir.teachers.jobs import Job
from distillir.teachers.teacher import Candidates, Read, blocks, finite, no_call

PARTS = "pairs"

Asked = tuple[str, Sequence[Job]]
"""A candidate, and the jobs whose labels make its score."""

Formula = Callable[[Sequence[Label]], float]
"""Labels of a pair, all usable → its score."""


def score_lists(
    lists: Sequence[Candidates],
    whole: Callable[[Candidates], LabelRequest],
    pairs: Callable[[Candidates], Sequence[Asked]],
    formula: Formula,
    scale: str,
    read: Read,
) -> Iterator[Sequence[Job]]:
    """For some hundred lists at a time two rounds: all pairs, then the scores of contexts whose pairs are all there.

    Args:
        lists: what is scored.
        whole: candidates → request of their scores. pairs: candidates → what is asked.
        formula: of a pair's score.
        scale: what the scores are.
        read: labels made so far.
    """
    for block in blocks(lists):
        requests = [whole(given) for given in block]
        open_ones = [
            pairs(given) if read(request) is None else [] for given, request in zip(block, requests, strict=True)
        ]
        yield [job for found in open_ones for _, jobs in found for job in jobs]
        made = []
        for request, found in zip(requests, open_ones, strict=True):
            label = _scores(found, formula, scale, read) if found else read(request)
            if label is not None:
                made.append(no_call(request, label))
        yield made


def _scores(pairs: Sequence[Asked], formula: Formula, scale: str, read: Read) -> Label | None:
    """The scores of a context, None while one of its pairs has no label."""
    scores: dict[str, float] = {}
    bounded, keys = 0, []
    for name, jobs in pairs:
        labels = [label for job in jobs if (label := read(job.request)) is not None]
        if len(labels) < len(jobs):
            return None
        keys += [job.request.key for job in jobs]
        if all(label.value is not None for label in labels):
            scores[name] = finite(formula(labels))
            bounded += any(label.status == "repaired" for label in labels)
    why = join_reasons(counts={"missing": len(pairs) - len(scores), "bounded": bounded})
    raw = json.dumps({PARTS: keys})
    if not scores:
        return Label("scores", None, raw, "malformed", reason=why, attempts=0, scale=scale)
    return Label("scores", scores, raw, "repaired" if why else "ok", reason=why, attempts=0, scale=scale)


def likelihoods(label: Label) -> dict[str, Mapping[str, float]]:
    """Text → what a pair's label says of it."""
    return {one["text"]: one for one in label.value}
