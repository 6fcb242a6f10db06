"""What every student of the reranking benchmark starts from: all-MiniLM-L6-v2 taught to compare two texts.

As it comes the encoder has read one text at a time, and its head is drawn at random: from orders of some hundred turns
alone it learns nothing in the time that two cores have. So it learns in two steps without anybody's judgement: that
cropped sentences belong to their passage rather than to random ones, and then, on sentences and on train turns, the
scores that the same encoder gives to query and passage apart. Of turns it reads the conversation, where those scores
are of the human's rewrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import dense_data
from benchmarks.rerank_data import RerankMaterial
from benchmarks.rerank_student import SEED, Size, fitted, kept_student, untrained
from distillir.conversation import Conversation
from distillir.data import HUMAN, Context, Corpus, Run, cropped_sentences
from distillir.objectives import KLD, InfoNCE
from distillir.recipes.marks import context_facts
from distillir.recipes.rerank_fit import RerankLabelled, label_lists
from distillir.recipes.rerank_pool import merged_pool
from distillir.recipes.rerank_strangers import with_strangers
from distillir.recipes.systems import bm25
from distillir.students import RerankerStudent, resolve
from distillir.students.dense import DenseStudent
from distillir.training import TrainSettings

DEPTH = 20  # passages of either retriever, and random ones behind them
SHARPNESS = 20.0  # cosines times this are the teacher's scores: a tenth more is e² times as likely


def start_of(material: RerankMaterial, data: Path, size: Size) -> RerankerStudent:
    """The start; what was trained of exactly this before is opened again."""
    crops = cropped_sentences(material.corpus, size.crops, SEED)
    turns = material.splits["train"]
    first = TrainSettings(
        batch_size=16, lr=2e-4, warmup=0.1, max_steps=size.start_steps[0], epochs=100, seed=SEED, precision="bf16"
    )
    second = replace(first, batch_size=8, max_steps=size.start_steps[1])
    facts = [size.depth, size.listed, str(first), str(second), [context_facts(c) for c in (*crops, *turns)]]

    def train() -> RerankerStudent:
        corpus = material.corpus
        pool = merged_pool({"random": _random(corpus, crops)}, corpus, depth=2 * DEPTH, rule="round_robin")
        made = fitted(
            "start, sentences", untrained(size), label_lists(crops, pool, corpus, {}), corpus, InfoNCE(), 4, first
        )
        return fitted(
            "start, scores", made, _scored(material, data, [*crops, *turns]), corpus, KLD(), size.listed, second
        )

    return kept_student(train, start=facts, size=[size.max_length, size.passage_length])


def _random(corpus: Corpus, queries: Sequence[Context]) -> Run:
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(corpus), (len(queries), 2 * DEPTH)).tolist()
    return {
        c.id: {corpus.doc_id(i): 1.0 / rank for rank, i in enumerate(row, 1)}
        for c, row in zip(queries, drawn, strict=True)
    }


def _scored(material: RerankMaterial, data: Path, queries: Sequence[Context]) -> RerankLabelled:
    """Candidates of BM25 and of the encoder, and random ones, with the encoder's score of each."""
    corpus, vectors = material.corpus, dense_data.load(data).pooled
    encoder = DenseStudent.from_pretrained(resolve(dense_data.MODEL), dense_data.settings())
    alone = [Conversation.from_pairs([], c.rewrites.get(HUMAN, c.conversation.question)) for c in queries]
    rows = np.concatenate([np.asarray(block, np.float32) for _, block in vectors.blocks()])
    likeness = np.asarray(encoder.encode_queries(alone), np.float32) @ rows.T
    near = np.argsort(-likeness, axis=1)[:, :DEPTH]
    runs: dict[str, Run] = {
        "words": bm25(corpus, [(c.id, one.question) for c, one in zip(queries, alone, strict=True)], DEPTH),
        "dense": {
            c.id: {vectors.ids[int(j)]: float(values[j]) for j in best}
            for c, values, best in zip(queries, likeness, near, strict=True)
        },
    }
    pool = merged_pool(runs, corpus, depth=30, rule="round_robin")
    lists = with_strangers(label_lists(queries, pool, corpus, {}), len(corpus), DEPTH, SEED)
    column = {name: i for i, name in enumerate(vectors.ids)}
    place = {c.id: i for i, c in enumerate(queries)}
    labels = tuple(
        {
            int(p): SHARPNESS * float(likeness[place[c.id], column[corpus.doc_id(int(p))]])
            for p in lists.pool[c.id].positions
        }
        for c in lists.contexts
    )
    return replace(lists, labels=labels, kind="scores")
