"""What the reranking benchmark reads: MTRAG turns, candidates of several retrievers, teachers, NovelEval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import mtrag_data
from benchmarks.mtrag_data import BUILD, DOMAINS, MODEL, PLAIN, Material, say
from distillir.conversation import Conversation
from distillir.data import HUMAN, Context, Corpus, Run, ranked, read_qrels, read_queries, read_run
from distillir.recipes.measure import TestBed
from distillir.recipes.rerank_pool import merged_pool, pool_run
from distillir.recipes.systems import bm25, conversation, gated
from distillir.recipes.taught import run_labels
from distillir.students import resolve
from distillir.vectors import SparseVectors

FOLDER = BUILD / "rerank"
SYSTEMS = ("bm25", "bm25_es", "bge", "elser", "splade")
Said = dict[str, dict[str, float]]


@dataclass(frozen=True)
class RerankMaterial:
    """Turns, passages and candidates.

    Attributes:
        mtrag: corpora and vectors they are made of.
        corpus: the three domains' passages.
        splits: judged turns of train, dev and test.
        first: retriever → split → run. "bm25": of the open question. "sparse": of the untrained turn gate, which reads
            the conversation.
        pooled: both, and BM25 of the human's rewrite, merged, for train.
        systems: context id → document id → rank: five systems' published top 10 on rewrites, fused. They made the
            pooled corpus, so they are biased towards it.
    """

    mtrag: Material
    corpus: Corpus
    splits: dict[str, list[Context]]
    first: dict[str, dict[str, Run]]
    pooled: Run
    systems: Said


def load(data: Path, depth: int, train: int | None = None, limit: int | None = None) -> RerankMaterial:
    """Read everything; keep that many turns of train, and of dev and test, spread over them."""
    mtrag = mtrag_data.load(data)
    corpora = {domain: mtrag.corpora[domain] for domain in DOMAINS}
    every = {"train": mtrag.train, "dev": mtrag.dev, "test": mtrag.test}
    kept = {"train": train, "dev": limit, "test": limit}
    splits = {split: spread([c for c in turns if c.relevant], kept[split]) for split, turns in every.items()}
    say("candidates")
    own = {domain: mtrag.documents[domain] for domain in DOMAINS}
    first = {
        "bm25": {split: _bm25(corpora, turns, depth) for split, turns in splits.items()},
        "sparse": {split: sparse(own, turns, depth) for split, turns in splits.items()},
    }
    rewritten = [replace(c, conversation=Conversation.from_pairs([], c.rewrites[HUMAN])) for c in splits["train"]]
    corpus = Corpus.concat(list(corpora.values()))
    runs = {name: found["train"] for name, found in first.items()} | {"rewrite": _bm25(corpora, rewritten, depth)}
    pooled = pool_run(merged_pool(runs, corpus, depth=depth, rule="round_robin"), splits["train"], corpus)
    everyone = [c for turns in splits.values() for c in turns]
    return RerankMaterial(mtrag, corpus, splits, first, pooled, run_labels(_fused(data, everyone, corpus)))


def noveleval(data: Path) -> tuple[list[Context], Run, dict[str, str]]:
    """Questions with graded judgements, their twenty passages in the order of the file, and the texts."""
    folder = data / "rerank_noveleval"
    corpus = Corpus.build(folder / "corpus.jsonl.gz", FOLDER / "noveleval.arrow")
    qrels = read_qrels(folder / "qrels.tsv")
    contexts = [
        replace(c, relevant={d: g for d, g in qrels[c.id].items() if g > 0})
        for c in read_queries(folder / "queries.jsonl")
    ]
    run: Run = {c.id: {d: float(-i) for i, d in enumerate(sorted(qrels[c.id]))} for c in contexts}
    return contexts, run, {document.id: document.contents for document in corpus}


def spread(turns: Sequence[Context], limit: int | None) -> list[Context]:
    """So many turns, evenly over all."""
    if limit is None or limit >= len(turns):
        return list(turns)
    return [turns[i] for i in np.linspace(0, len(turns) - 1, limit).astype(int)]


def sparse(documents: Mapping[str, SparseVectors], turns: Sequence[Context], depth: int) -> Run:
    """What the untrained turn gate finds, each turn in the vectors of its domain; "" serves every domain."""
    gate = gated(resolve(MODEL), PLAIN)
    gate.screen = True
    return cut(TestBed(turns, documents).measure("sparse", conversation(gate)).run, depth)


def cut(run: Mapping[str, Mapping[str, float]], depth: int) -> Run:
    """The best of each query."""
    return {name: dict(ranked(scores)[:depth]) for name, scores in run.items()}


def _bm25(corpora: dict[str, Corpus], turns: Sequence[Context], depth: int) -> Run:
    found: Run = {}
    for domain, corpus in corpora.items():
        asked = [(c.id, c.conversation.question) for c in turns if c.domain == domain]
        found |= bm25(corpus, asked, depth) if asked else {}
    return found


def _fused(data: Path, turns: Sequence[Context], corpus: Corpus) -> Run:
    """The five systems' lists of the rewrites, by reciprocal rank fusion; passages that were not recovered are lost."""
    runs = {}
    for system in SYSTEMS:
        whole: Run = {}
        for domain in DOMAINS:
            path = data / "mtrag" / "runs" / f"{system}.{domain}.rewrite.tsv.gz"
            whole |= read_run(path) if path.is_file() else {}
        kept = {c.id: {d: s for d, s in whole.get(c.id, {}).items() if d in corpus} for c in turns}
        runs[system] = {name: scores for name, scores in kept.items() if scores}
    pool = merged_pool({name: run for name, run in runs.items() if run}, corpus, depth=30, rule="rrf")
    return pool_run(pool, turns, corpus)
