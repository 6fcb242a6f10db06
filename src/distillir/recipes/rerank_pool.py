"""Candidates of queries from several retrievers: BM25, the retriever of a finished run, or a run file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from distillir.data import Context, Corpus, Run, ranked, read_run
from distillir.errors import DataError
from distillir.recipes.opening import RECIPES, open_any
from distillir.recipes.systems import bm25
from distillir.sampling import RankedPool, Ranking
from distillir.sampling.merge import MergeRule

BM25 = "bm25"


def retrieved(source: str, contexts: Sequence[Context], corpus: Corpus, depth: int) -> Run:
    """What one retriever finds for each context.

    Args:
        source: "bm25" (the open question), a run folder or recipe file, or the path of a TREC or tab-separated run.
        contexts: queries.
        corpus: candidates. Found documents that it lacks are left out.
        depth: documents a query.

    Raises:
        DataError: no such file or run, or none of its documents are in the corpus.
    """
    if source == BM25:
        return bm25(corpus, [(c.id, c.conversation.question) for c in contexts], depth)
    path = Path(source)
    if path.is_dir() or path.suffix in RECIPES:
        with open_any(path) as retriever:
            hits = retriever.retrieve_batch([c.conversation for c in contexts], depth)
        found: Run = {c.id: {hit.id: hit.score for hit in one} for c, one in zip(contexts, hits, strict=True)}
    else:
        found = read_run(path)
    kept = {c.id: {d: s for d, s in found[c.id].items() if d in corpus} for c in contexts if c.id in found}
    if not any(kept.values()):
        raise DataError(path, "it finds no document of the corpus for any query", cure="check that ids belong together")
    return {name: dict(ranked(scores)[:depth]) for name, scores in kept.items() if scores}


def candidate_pool(
    retrievers: Mapping[str, str], contexts: Sequence[Context], corpus: Corpus, *, depth: int, rule: MergeRule
) -> RankedPool:
    """Merged candidates of each context, each remembering who found it (`RankedPool.finders`)."""
    runs = {name: retrieved(source, contexts, corpus, depth) for name, source in retrievers.items()}
    return merged_pool(runs, corpus, depth=depth, rule=rule)


def merged_pool(runs: Mapping[str, Run], corpus: Corpus, *, depth: int, rule: MergeRule) -> RankedPool:
    """Runs of several retrievers as one pool over positions of the corpus."""
    pools = {name: RankedPool.build(_rankings(run, corpus), retriever=name) for name, run in runs.items()}
    return RankedPool.merge(pools, depth=depth, rule=rule)


def pool_run(pool: RankedPool, contexts: Sequence[Context], corpus: Corpus) -> Run:
    """The merged order as a run: scores fall with the rank, because retrievers' own are on different scales."""
    made: Run = {}
    for context in contexts:
        if (ranking := pool.get(context.id)) is not None:
            names = [corpus.doc_id(int(i)) for i in ranking.positions]
            made[context.id] = {name: 1.0 / rank for rank, name in enumerate(names, start=1)}
    return made


def _rankings(run: Run, corpus: Corpus) -> list[tuple[str, Ranking]]:
    rankings = []
    for name, scores in run.items():
        order = ranked(scores)
        positions = corpus.position([document for document, _ in order])
        rankings.append((name, Ranking(positions.astype(np.int64), np.array([s for _, s in order], np.float32))))
    return rankings
