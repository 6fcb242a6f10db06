"""TWOLAR's components on a budget: retrievers, kinds of queries, and the three scores of a language model.

Components: students of cropped sentences and of questions that a model wrote, as many of either. The candidates of the
full row come from four retrievers, merged to one depth: BM25, the sparse student, all-MiniLM-L6-v2 as a bi-encoder, and
BM25 reranked by the contrastive student. The teacher is the consensus of all four (RRF), whoever found the candidates;
it is weak, so compare rows of one table and quote none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import dense_data
from benchmarks.mtrag_data import say
from benchmarks.rerank_data import RerankMaterial, cut, sparse, spread
from benchmarks.rerank_student import LR, SEED, Size, fitted, orders, worth
from distillir.data import Context, Run, cropped_sentences
from distillir.objectives import RankNet
from distillir.recipes.rerank_fit import label_lists
from distillir.recipes.rerank_pool import merged_pool, pool_run
from distillir.recipes.systems import bm25
from distillir.recipes.taught import run_labels
from distillir.rendering import RenderSettings
from distillir.students import LanguageReranker, LanguageRerankerSettings, Reranker, resolve
from distillir.students.dense import DenseStudent
from distillir.students.reranker_language import Score
from distillir.teachers.packaged_llm import gguf_of
from distillir.training import TrainSettings
from distillir.vectors.dense import DenseVectors

MOST = 4  # retrievers
SCORES: tuple[Score, ...] = ("difference", "softmax", "token")
LANGUAGE_MODEL = "smollm2-135m"


def components(
    material: RerankMaterial,
    size: Size,
    questions: Sequence[Context],
    start: Reranker,
    reranker: Reranker,
    dense: DenseVectors,
) -> dict[str, Any]:
    """Rows of students on test, reranking BM25: the full table, and less retrievers or one kind of queries.

    All go on from `start`; `reranker` orders the candidates of the fourth retriever.
    """
    number = min(size.queries, len(questions)) or size.queries
    crops = cropped_sentences(material.corpus, number, SEED)
    kinds = {"crops": crops[:number]}
    if questions:
        written = list(questions[:number])
        both = [*crops[: number // 2], *written[number // 2 : number]]
        kinds = {"both": both, "questions": written, **kinds}
    main = next(iter(kinds))
    found = _retrieved(material, size, {c.id: c for one in kinds.values() for c in one}, reranker, dense)
    everyone = [c for one in kinds.values() for c in one]
    consensus = pool_run(merged_pool(found, material.corpus, depth=size.depth, rule="rrf"), everyone, material.corpus)
    cells = {f"{main}, {n} retrievers": (kinds[main], n) for n in (4, 2, 1)}
    cells |= {f"{kind}, {MOST} retrievers": (kinds[kind], MOST) for kind in list(kinds)[1:]}
    students = {}
    for name, (queries, n) in cells.items():
        runs = dict(list(found.items())[:n])
        pool = merged_pool(runs, material.corpus, depth=size.depth, rule="stratified")
        listed = pool_run(pool, queries, material.corpus)
        said = {q: {d: s for d, s in consensus[q].items() if d in given} for q, given in listed.items()}
        labelled = label_lists(queries, pool, material.corpus, run_labels(said))
        students[name] = fitted(
            name, start, labelled, material.corpus, RankNet(), size.listed, _settings(size.table_steps, 4)
        )
    turns, run = _test(material, size.table_turns, size.depth)
    runs = {
        "bm25": run,
        "start": orders(start, run, turns, material.corpus, size.depth),
        **{name: orders(one, run, turns, material.corpus, size.depth) for name, one in students.items()},
    }
    full = next(iter(cells))
    pairs = [(full, "bm25"), (full, "start"), *((full, name) for name in list(cells)[1:])]
    return {"queries": number, "retrievers": list(found), "depth": size.depth, **worth(runs, turns, pairs)}


def scores(material: RerankMaterial, size: Size) -> dict[str, Any]:
    """SmolLM2-135M trained with each score on the same lists, reranking the head of BM25's; untrained rows beside."""
    turns = spread(material.splits["train"], size.queries // 2)
    pool = merged_pool({"pooled": cut(material.pooled, 20)}, material.corpus, depth=20, rule="round_robin")
    labelled = label_lists(turns, pool, material.corpus, material.systems)
    tested, run = _test(material, size.score_turns, 10)
    made: dict[str, Run] = {"bm25": run}
    for score in SCORES:
        settings = LanguageRerankerSettings(
            RenderSettings(max_length=size.max_length), size.passage_length, score, token="true"
        )
        start = LanguageReranker.from_pretrained(gguf_of(LANGUAGE_MODEL), settings)
        made[f"{score}, untrained"] = orders(start, run, tested, material.corpus, 10)
        student = fitted(score, start, labelled, material.corpus, RankNet(), 4, _settings(size.score_steps, 2))
        made[score] = orders(student, run, tested, material.corpus, 10)
    pairs = [("difference", "softmax"), ("difference", "token"), *((score, "bm25") for score in SCORES)]
    pairs += [(score, f"{score}, untrained") for score in SCORES]
    return {"model": LANGUAGE_MODEL, "lists": len(turns), "steps": size.score_steps, **worth(made, tested, pairs)}


def _settings(steps: int, batch: int) -> TrainSettings:
    return TrainSettings(batch_size=batch, lr=LR, warmup=0.1, epochs=100, max_steps=steps, seed=SEED, precision="bf16")


def _test(material: RerankMaterial, count: int, depth: int) -> tuple[list[Context], Run]:
    turns = spread(material.splits["test"], count)
    first = material.first["bm25"]["test"]
    return turns, cut({c.id: first[c.id] for c in turns if c.id in first}, depth)


def _retrieved(
    material: RerankMaterial, size: Size, asked: Mapping[str, Context], reranker: Reranker, dense: DenseVectors
) -> dict[str, Run]:
    """What each of the four finds in the whole corpus."""
    say(f"candidates of {len(asked)} queries")
    queries = list(asked.values())
    words = bm25(material.corpus, [(c.id, c.conversation.question) for c in queries], size.depth)
    return {
        "bm25": words,
        "sparse": sparse({"": material.mtrag.pooled}, queries, size.depth),
        "dense": _nearest(dense, queries, size.depth),
        "reranked": orders(reranker, words, [c for c in queries if words[c.id]], material.corpus, size.depth),
    }


def _nearest(dense: DenseVectors, queries: Sequence[Context], depth: int) -> Run:
    encoder = DenseStudent.from_pretrained(resolve(dense_data.MODEL), dense_data.settings())
    vectors = np.asarray(encoder.encode_queries([c.conversation for c in queries]), np.float32)
    likeness = np.concatenate([vectors @ np.asarray(rows, np.float32).T for _, rows in dense.blocks()], axis=1)
    top = np.argsort(-likeness, axis=1)[:, :depth]
    return {
        c.id: {dense.ids[int(j)]: float(values[j]) for j in best}
        for c, values, best in zip(queries, likeness, top, strict=True)
    }
