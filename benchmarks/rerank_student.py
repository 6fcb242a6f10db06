"""Students of the reranking benchmark: how large everything is, one training, and what an order is worth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.mtrag_data import say
from benchmarks.rerank_data import FOLDER, RerankMaterial, Said, cut
from benchmarks.teachers_students import MEASURES, summary
from distillir.data import Context, Corpus, Run
from distillir.evaluation import evaluate
from distillir.objectives.contract import Objective
from distillir.recipes.marks import told_by
from distillir.recipes.rerank import texts_of
from distillir.recipes.rerank_fit import RerankLabelled, fit_stage, label_lists
from distillir.recipes.rerank_pool import merged_pool
from distillir.rendering import RenderSettings
from distillir.sampling.draw import LogUniform
from distillir.search import rerank_run
from distillir.students import Reranker, RerankerSettings, RerankerStudent, resolve
from distillir.students.reranker_checkpoint import load_reranker_student
from distillir.students.student_folder import is_student
from distillir.training import Tick, TrainSettings
from distillir.training.listed import Kind

Student = TypeVar("Student", bound=Reranker)
SEED = 13
LR = 5e-5
START = "all-minilm-l6-v2"


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train, limit: turns of the train split, and of dev and of test; None = all. depth: candidates reranked.
        listed: candidates a list in training.
        max_length: tokens of a conversation. passage_length: of a passage.
        crops: cropped sentences that every student begins on. start_steps: on them, and on the encoder's scores.
        steps: of a training; 0 = passes over the turns, the best one on dev kept: `first` of the contrastive stage, one
            of the others.
        llm_lists: lists labelled by a language model. llm_depth: documents of each.
        speed_pairs, speed_repetitions: of the throughput.
        tables: whether components and scores are compared too. queries, table_turns, table_steps: of these.
            score_turns, score_steps: of the language model's.
    """

    train: int | None
    limit: int | None
    depth: int
    listed: int
    max_length: int
    passage_length: int
    crops: int
    start_steps: tuple[int, int]
    steps: int
    llm_lists: int
    llm_depth: int
    first: int = 1
    speed_pairs: int = 160
    speed_repetitions: int = 5
    tables: bool = False
    queries: int = 100
    table_turns: int = 60
    table_steps: int = 40
    score_turns: int = 30
    score_steps: int = 16


SHORT = Size(30, 30, 20, 8, 48, 96, crops=64, start_steps=(6, 6), steps=10, llm_lists=2, llm_depth=6)
FULL = Size(
    train=None,
    limit=None,
    depth=50,
    listed=8,
    max_length=64,
    passage_length=96,
    crops=3000,
    start_steps=(100, 250),
    steps=0,
    llm_lists=50,
    llm_depth=6,
    first=2,
    score_turns=24,
    score_steps=12,
    table_steps=32,
    speed_pairs=512,
    tables=True,
    queries=60,
)


@dataclass(frozen=True)
class Row:
    """One training: its objective, whose labels it reads, and whether it goes on from the contrastive stage."""

    objective: Objective
    teacher: str = "systems"
    second: bool = False
    kind: Kind = "order"
    rule: str | None = None


def untrained(size: Size) -> RerankerStudent:
    """all-MiniLM-L6-v2 with a head that is drawn anew."""
    settings = RerankerSettings(RenderSettings(max_length=size.max_length), size.passage_length)
    return RerankerStudent.from_pretrained(resolve(START), settings, seed=SEED)


def kept_student(train: Callable[[], RerankerStudent], **facts: object) -> RerankerStudent:
    """What was trained of the same facts before, or is now."""
    folder = FOLDER / "students" / told_by(**facts)[:16]
    if not is_student(folder):
        train().save(folder)
    return load_reranker_student(folder)


def learn(
    material: RerankMaterial, size: Size, name: str, row: Row, said: Said, start: RerankerStudent
) -> RerankerStudent:
    """A student of train turns; `start` stays as it is."""
    turns, dev = material.splits["train"], material.splits["dev"]
    alone = row.teacher != "systems"  # a language model has seen the head of the list only
    depth = size.llm_depth if alone else size.depth
    pool = merged_pool({"pooled": cut(material.pooled, depth)}, material.corpus, depth=depth, rule="round_robin")
    labelled = label_lists(turns, pool, material.corpus, said, kind=row.kind, rule=row.rule)
    judged = None if size.steps else (dev, material.first["bm25"]["dev"], 20)
    training = TrainSettings(batch_size=8, lr=LR, warmup=0.1, max_steps=size.steps, epochs=100, seed=SEED)
    if not size.steps:
        epochs = 5 if alone else size.first if name == "contrastive" else 1
        training = TrainSettings(batch_size=8, lr=LR, warmup=0.1, epochs=epochs, seed=SEED, precision="bf16")
    facts = [(c.id, dict(c.relevant), one) for c, one in zip(labelled.contexts, labelled.labels, strict=True)]
    return kept_student(
        lambda: fitted(
            name, start, labelled, material.corpus, row.objective, min(size.listed, depth), training, judged
        ),
        start=start.fingerprint(),
        row=[str(row.objective), row.objective.name, row.rule, row.kind],
        training=str(training),
        lists=[size.listed, depth, facts],
        judged=[] if judged is None else [c.id for c in dev],
    )


def fitted(
    name: str,
    start: Student,
    labelled: RerankLabelled,
    corpus: Corpus,
    objective: Objective,
    listed: int,
    settings: TrainSettings,
    judged: tuple[Sequence[Context], Run, int] | None = None,
) -> Student:
    """A copy of a student, trained on lists; with `judged`, the best step by nDCG@10 over a run's head is kept."""
    made = copy.deepcopy(start)
    contrastive = objective.name == "infonce"

    def watch(tick: Tick) -> None:
        if tick.step % 5 == 0 or tick.dev is not None:
            shown = "" if tick.dev is None else f", dev {tick.dev:.4f}"
            say(f"  {name} {tick.step}/{tick.steps} loss {tick.loss:.4f}{shown}")

    def on_dev(one: Reranker) -> float:
        turns, run, depth = judged or ([], {}, 1)
        return float(evaluate(orders(one, run, turns, corpus, depth), _qrels(turns), MEASURES).means["nDCG@10"])

    fit_stage(
        made,
        labelled,
        corpus,
        objective,
        LogUniform(n=listed - contrastive, first=1, last=max(listed, 50)),
        settings,
        gold="one" if contrastive else "none",
        chunk_tokens=16384,  # all pairs of a step at once: nothing is computed twice
        evaluate=on_dev if judged else None,
        watch=watch,
    )
    return made


def orders(one: Reranker, run: Run, turns: Sequence[Context], corpus: Corpus, depth: int) -> Run:
    """A run whose head a student orders, in bfloat16: two cores read a hundred thousand pairs here."""
    one.bf16 = True
    try:
        return rerank_run(one, run, turns, texts_of(run, corpus), depth)
    finally:
        one.bf16 = False


def worth(
    runs: Mapping[str, Mapping[str, Mapping[str, float]]],
    turns: Sequence[Context],
    pairs: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Means with 95 % intervals by conversation of every run, and paired differences with their p."""
    rows = {}
    for name, run in runs.items():
        scored = evaluate(run, _qrels(turns), MEASURES)
        rows[name] = dict(zip(scored.query_ids, scored.values, strict=True))
        say(f"  {name}: nDCG@10 {scored.means['nDCG@10']:.4f}")
    return summary(rows, {c.id: c.group for c in turns}, pairs)


def ndcg10(told: Mapping[str, Any], row: str) -> float:
    """The mean of one row of `worth`."""
    return float(told["rows"][row]["nDCG@10"][0])


def _qrels(turns: Sequence[Context]) -> dict[str, dict[str, int]]:
    return {c.id: dict(c.relevant) for c in turns}
