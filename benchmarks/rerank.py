"""Reranking on MTRAG: an encoder that starts from all-MiniLM-L6-v2, BM25's order before and after, and throughput.

Train: MTRAG train turns of clapnq, cloud and fiqa; candidates are BM25's of the question and of the rewrite, merged.
The teacher `systems` is the fusion of five published runs, which also made the pooled corpus: its own figure is high
for that reason. The row is chosen on dev; test is only reported. `--full` adds the objectives, one stage against two,
the whole depth and NovelEval; without it everything is small enough for ten minutes on two cores.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.mtrag import rows
from benchmarks.mtrag_data import say
from benchmarks.rerank_data import FOLDER, RerankMaterial, load, noveleval
from distillir.data import Context, Run
from distillir.errors import ConfigError
from distillir.evaluation import Comparison, SystemResult, compare, evaluate
from distillir.objectives import ADRMSE, InfoNCE, LambdaRank, MarginMSE, RankNet
from distillir.objectives.contract import Objective
from distillir.recipes.rerank import texts_of
from distillir.recipes.rerank_fit import fit_stage, label_lists
from distillir.recipes.rerank_pool import merged_pool
from distillir.rendering import RenderSettings
from distillir.sampling import LogUniform
from distillir.search import rerank_run
from distillir.students import Reranker, RerankerSettings, RerankerStudent, resolve
from distillir.training import Tick, TrainSettings

SEED = 13
MODEL = "all-minilm-l6-v2"


@dataclass(frozen=True)
class Size:
    """How much of everything: turns a split, candidates, list length in training, tokens, steps a stage."""

    limit: int | None
    depth: int
    listed: int
    max_length: int
    passage_length: int
    steps: int
    speed_pairs: int = 256


SHORT = Size(limit=60, depth=20, listed=8, max_length=48, passage_length=96, steps=12)
FULL = Size(limit=None, depth=50, listed=20, max_length=96, passage_length=192, steps=0)


@dataclass(frozen=True)
class Row:
    """One trained row: its stages, and whose lists it learns from."""

    objectives: tuple[Objective, ...]
    teacher: str = "systems"
    rule: str | None = None


def trained_rows(full: bool, teachers: Mapping[str, object]) -> dict[str, Row]:
    """Students by row."""
    chosen = {"two_stages": Row((InfoNCE(), RankNet()))}
    if full:
        chosen |= {
            "contrastive": Row((InfoNCE(),)),
            "ranknet": Row((RankNet(),)),
            "adr_mse": Row((ADRMSE(),)),
            "lambda_rank": Row((LambdaRank(),)),
            "margin_mse": Row((MarginMSE(),), rule="negative_rank"),
        }
    if "llm" in teachers:
        chosen["two_stages_llm"] = Row((InfoNCE(), RankNet()), teacher="llm")
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
    material = load(data, size.depth, size.limit)
    chosen = trained_rows(full, material.teachers)
    students = {name: student(material, size, name, row) for name, row in chosen.items()}
    dev, test = (table(material, split, students, size) for split in ("dev", "test"))
    for split, compared in (("dev", dev), ("test", test)):
        print(f"\n{split}\n{compared.text()}")
    best = max(students, key=lambda name: dev.cells[name]["ndcg10"].mean)
    cells = test.cells
    result = {
        "bench": "rerank",
        "split": "test",
        "seed": SEED,
        "student": best,
        "ndcg10_before": round(cells["bm25"]["ndcg10"].mean, 4),
        "ndcg10_after": round(cells[best]["ndcg10"].mean, 4),
        "teacher_ndcg10": round(cells[f"teacher_{chosen[best].teacher}"]["ndcg10"].mean, 4),
        **throughput(students[best], material, size.speed_pairs),
        "rows": rows(test),
        "splits": {"dev": rows(dev)},
    }
    if full:
        result["noveleval"] = {name: on_noveleval(data, one) for name, one in students.items()}
    return result


def student(material: RerankMaterial, size: Size, name: str, row: Row) -> Reranker:
    """Train one row, a stage for each of its objectives."""
    settings = RerankerSettings(RenderSettings(max_length=size.max_length), size.passage_length)
    made = RerankerStudent.from_pretrained(resolve(MODEL), settings, seed=SEED)
    pool = merged_pool({"pooled": material.pooled}, material.corpus, depth=size.depth, rule="round_robin")
    turns, said = material.splits["train"], material.teachers[row.teacher]
    labelled = label_lists(turns, pool, material.corpus, said, rule=row.rule)
    dev = material.first["dev"]

    def watch(tick: Tick) -> None:
        if tick.step % 5 == 0 or tick.dev is not None:
            shown = "" if tick.dev is None else f", dev {tick.dev:.4f}"
            say(f"  {name} {tick.step}/{tick.steps} loss {tick.loss:.4f}{shown}")

    for objective in row.objectives:
        contrastive = objective.name == "infonce"
        fit_stage(
            made,
            labelled,
            material.corpus,
            objective,
            LogUniform(n=size.listed - contrastive, first=1, last=size.depth),
            TrainSettings(batch_size=8, lr=3e-5, warmup=0.1, max_steps=size.steps, seed=SEED),
            gold="one" if contrastive else "all",
            evaluate=(lambda s: _ndcg(s, material, dev)) if objective is row.objectives[-1] else None,
            watch=watch,
        )
    return made


def table(material: RerankMaterial, split: str, students: Mapping[str, Reranker], size: Size) -> Comparison:
    """BM25's order, the teachers', and every student's, all on BM25's candidates but the teachers'."""
    say(f"evaluate {split}")
    turns, first = material.splits[split], material.first[split]
    texts = texts_of(first, material.corpus)
    systems = [SystemResult("bm25", first)]
    for name, said in material.teachers.items():
        if all(c.id in said for c in turns):
            lists: Run = {c.id: {d: -rank for d, rank in said[c.id].items()} for c in turns}
            systems.append(SystemResult(f"teacher_{name}", lists, note="its own candidates"))
    for name, one in students.items():
        systems.append(SystemResult(name, rerank_run(one, first, turns, texts, size.depth)))
    qrels = {c.id: dict(c.relevant) for c in turns}
    depth = {c.id: c.conversation.depth for c in turns}
    return compare(systems, qrels, depth, {c.id: c.group for c in turns}, "bm25", seed=SEED)


def throughput(made: Reranker, material: RerankMaterial, count: int) -> dict[str, float]:
    """Pairs a second here and in `CrossEncoder.predict`: the same pairs, the same weights, scores that agree."""
    from sentence_transformers import CrossEncoder

    made.save(FOLDER / "student")
    other = CrossEncoder(str(FOLDER / "student"), device="cpu")
    by_id: dict[str, Context] = {c.id: c for c in material.splits["test"]}
    texts = texts_of(material.first["test"], material.corpus)
    named = [(by_id[query], texts[d]) for query, found in material.first["test"].items() for d in found]
    pairs = [(context.conversation, text) for context, text in named[:count]]
    strings = [made.reader.strings(*pair) for pair in pairs]  # type: ignore[attr-defined]
    seconds: dict[str, list[float]] = {"own": [], "other": []}
    gap = 0.0
    for _ in range(3):
        begun = time.perf_counter()
        own = made.predict(pairs)
        middle = time.perf_counter()
        others = other.predict(strings, show_progress_bar=False)
        seconds["own"].append(middle - begun)
        seconds["other"].append(time.perf_counter() - middle)
        gap = max(gap, float(np.abs(own - others).max()))
    own_time, other_time = (float(np.median(found)) for found in seconds.values())
    return {
        "throughput_ratio": round(other_time / own_time, 3),
        "pairs_per_second": round(len(pairs) / own_time, 1),
        "largest_score_gap": gap,
    }


def on_noveleval(data: Path, made: Reranker) -> dict[str, float]:
    """NDCG at 1, 5 and 10 over twenty given passages a question."""
    contexts, given, texts = noveleval(data)
    qrels = {c.id: dict(c.relevant) for c in contexts}
    found = rerank_run(made, given, contexts, texts)
    return {
        name: round(value, 4) for name, value in evaluate(found, qrels, ["nDCG@1", "nDCG@5", "nDCG@10"]).means.items()
    }


def _ndcg(made: Reranker, material: RerankMaterial, first: Run) -> float:
    turns = material.splits["dev"]
    found = rerank_run(made, first, turns, texts_of(first, material.corpus), 20)
    return evaluate(found, {c.id: dict(c.relevant) for c in turns}, ["nDCG@10"]).means["nDCG@10"]
