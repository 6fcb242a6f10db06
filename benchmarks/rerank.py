"""Reranking on MTRAG: an encoder that starts from all-MiniLM-L6-v2, before and after, and throughput.

Train: MTRAG train turns of clapnq, cloud and fiqa. Candidates: BM25 of the question and of the rewrite, and the sparse
student, merged. Teachers: `systems`, the fusion of five published runs, which also made the pooled corpus, so that its
own figure is high; `listwise` and `pointwise`, the best packaged language model on a few lists. All rows go on from
`start`, which has seen no judgement (`rerank_start.py`). What is reranked on dev and test are BM25's and the sparse
student's first; the row is chosen on dev, test is only reported. Differences are paired, intervals by conversation.
Trainings and orders that are done are kept; a run that was stopped goes on.

`--full` adds further objectives, the second stage without the first, all turns at the whole depth, 50 labelled lists,
NovelEval, and the tables of components and scores, all trained and scored in bfloat16; without it everything is small
enough for ten minutes on two cores once vectors are there, and shows only that the parts work together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from benchmarks import dense_data
from benchmarks.mtrag_data import say
from benchmarks.rerank_data import FOLDER, RerankMaterial, Said, load, noveleval
from benchmarks.rerank_speed import throughput
from benchmarks.rerank_start import start_of
from benchmarks.rerank_student import FULL, SHORT, Row, Size, learn, ndcg10, orders, worth
from benchmarks.rerank_tables import components, scores
from benchmarks.rerank_teachers import asked
from distillir.data import Run
from distillir.errors import ConfigError
from distillir.evaluation import evaluate
from distillir.objectives import ADRMSE, InfoNCE, LambdaRank, ListNet, MarginMSE, PointwiseMSE, RankNet
from distillir.recipes.marks import told_by, write_text
from distillir.search import rerank_run
from distillir.students import RerankerStudent


def trained_rows(full: bool, teachers: Mapping[str, object]) -> dict[str, Row]:
    """Students by row; those of the second stage start from "contrastive"."""
    chosen = {"contrastive": Row(InfoNCE()), "two_stages": Row(RankNet(), second=True)}
    if full:
        chosen |= {
            "ranknet": Row(RankNet()),
            "adr_mse": Row(ADRMSE(), second=True),
            "lambda_rank": Row(LambdaRank(), second=True),
            "listnet": Row(ListNet(), second=True),
            "margin_mse": Row(MarginMSE(), second=True, rule="negative_rank"),
        }
    if "listwise" in teachers:
        chosen["listwise"] = Row(RankNet(), teacher="listwise", second=True)
    if "pointwise" in teachers:
        chosen["pointwise"] = Row(MarginMSE(), teacher="pointwise", second=True, kind="scores")
        if full:
            chosen["pointwise_mse"] = Row(PointwiseMSE(), teacher="pointwise", second=True, kind="scores")
    return chosen


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The tables of dev and test, and throughput."""
    if data is None:
        raise ConfigError("rerank needs the data sets", "give --data DIR")
    return measured(data, FULL if full else SHORT, full)


def measured(data: Path, size: Size, full: bool) -> dict[str, Any]:
    """The result at a size."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    FOLDER.mkdir(parents=True, exist_ok=True)
    material = load(data, size.depth, size.train, size.limit)
    said, questions, live = asked(material, size)
    labels: dict[str, Said] = {"systems": material.systems, **said}
    chosen = trained_rows(full, said)
    start = start_of(material, data, size)
    students: dict[str, RerankerStudent] = {}
    for name, row in chosen.items():
        begin = students["contrastive"] if row.second else start
        students[name] = learn(material, size, name, row, labels[row.teacher], begin)
    trained, students = dict(students), {"start": start, **students}
    dev = table(material, "bm25", "dev", students, size)
    best = max(trained, key=lambda name: ndcg10(dev, name))
    main = {name: students[name] for name in {best: 0, "start": 0, "contrastive": 0, "two_stages": 0}}
    test = {
        "bm25": table(material, "bm25", "test", students, size),
        "sparse": table(material, "sparse", "test", main, size),
    }
    teacher = chosen[best].teacher  # a language model's figure is of the few lists that it labelled
    result = {
        "bench": "rerank",
        "split": "test",
        "student": best,
        "teacher": teacher,
        "ndcg10_before": ndcg10(test["bm25"], "before"),
        "ndcg10_after": ndcg10(test["bm25"], best),
        "teacher_ndcg10": ndcg10(test["bm25"], "teacher_systems") if teacher == "systems" else ndcg10(live, teacher),
        **throughput(students[best], material, size.speed_pairs, size.speed_repetitions),
        "live_teachers": live,
        "test": test,
        "dev": dev,
    }
    if full:
        result["noveleval"] = {name: on_noveleval(data, one) for name, one in students.items()}
    if size.tables:
        result["components"] = components(
            material, size, questions, start, students["contrastive"], dense_data.load(data).pooled
        )
        result["scores"] = scores(material, size)
    return result


def table(
    material: RerankMaterial, first: str, split: str, students: Mapping[str, RerankerStudent], size: Size
) -> dict[str, Any]:
    """A retriever's order, every student's of its candidates, and the fused systems', which have their own."""
    say(f"{split}, candidates of {first}")
    turns, found = material.splits[split], material.first[first][split]
    runs: dict[str, Run] = {"before": found}
    if all(c.id in material.systems for c in turns):
        runs["teacher_systems"] = {c.id: {d: -r for d, r in material.systems[c.id].items()} for c in turns}
    for name, one in students.items():
        path = (
            FOLDER / "found" / f"{told_by(student=one.fingerprint(), found=found, turns=turns, depth=size.depth)}.json"
        )
        if not path.is_file():
            write_text(path, json.dumps(orders(one, found, turns, material.corpus, size.depth)))
        runs[name] = json.loads(path.read_text())
    pairs = [(name, "before") for name in students]
    pairs += [("two_stages", name) for name in students if name != "two_stages"]
    pairs += [(name, "teacher_systems") for name in students if "teacher_systems" in runs]
    return worth(runs, turns, pairs)


def on_noveleval(data: Path, made: RerankerStudent) -> dict[str, float]:
    """NDCG at 1, 5 and 10 over twenty given passages a question."""
    contexts, given, texts = noveleval(data)
    qrels = {c.id: dict(c.relevant) for c in contexts}
    found = rerank_run(made, given, contexts, texts)
    return {
        name: round(value, 4) for name, value in evaluate(found, qrels, ["nDCG@1", "nDCG@5", "nDCG@10"]).means.items()
    }
