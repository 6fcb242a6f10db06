"""Collections of the generative benchmark, how large everything is, and teachers that order a student's lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.mtrag_data import BUILD
from distillir.conversation import Conversation
from distillir.data import Context, Corpus, Run, cropped_sentences, load_mtrag, open_or_build, read_qrels, read_queries
from distillir.data.conversations import HUMAN
from distillir.recipes.systems import bm25
from distillir.students import DenseSettings, DenseStudent, resolve
from distillir.students.device import fastest_device

FOLDER = BUILD / "generative"
SPLIT = (0.6, 0.1)  # of XQuAD's questions: train, dev; the rest is test
RRF = 60.0


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        collections: which. seeds: of trainings. objectives: of the second training beside rank_gap.
        train, test: contexts a collection; None = all. crops: cropped sentences beside them.
        learn_steps, rank_steps: optimiser steps, of 16 and 8 contexts. lists: contexts of the second training.
        beams: of the search. depth: passages of a list. widths: beams whose latency is measured. speed: queries of it.
        tokens: sizes of synthetic streams, for the suffix array alone.
        model: what everything starts from. max_length: tokens of a conversation. smoothing: see `key_prior`.
        lr: of the first training; the second has a third of it. bf16: train in bfloat16.
    """

    collections: tuple[str, ...]
    seeds: tuple[int, ...]
    objectives: tuple[str, ...]
    train: int | None
    test: int | None
    crops: int
    learn_steps: int
    rank_steps: int
    lists: int
    beams: int
    depth: int
    widths: tuple[int, ...]
    speed: int
    tokens: tuple[int, ...]
    model: str = "smollm2-135m"
    max_length: int = 96
    smoothing: float = 1.0
    lr: float = 1e-4
    bf16: bool = False


SHORT = Size(
    collections=("xquad",),
    seeds=(13,),
    objectives=(),
    train=64,
    test=12,
    crops=0,
    learn_steps=6,
    rank_steps=3,
    lists=12,
    beams=5,
    depth=20,
    widths=(1, 5),
    speed=3,
    tokens=(1_000_000,),
    max_length=48,
)
FULL = Size(
    collections=("xquad", "clapnq"),
    seeds=(13, 14, 15),
    objectives=("ranknet", "listnet", "kld", "margin_mse", "lambda_rank"),
    train=None,
    test=None,
    crops=8000,
    learn_steps=1500,
    rank_steps=200,
    lists=400,
    beams=15,
    depth=50,
    widths=(1, 5, 15),
    speed=30,
    tokens=(1_000_000, 10_000_000, 100_000_000),
)


# What `--full` is where there is no accelerator: a twentieth of the learning.
PROCESSOR = replace(
    FULL,
    train=600,
    test=100,
    crops=300,
    learn_steps=80,
    rank_steps=12,
    lists=48,
    beams=5,
    depth=20,
    speed=8,
    max_length=64,
    bf16=True,
)


def size_of(full: bool) -> Size:
    """How large the benchmark is on this machine."""
    if not full:
        return SHORT
    return PROCESSOR if fastest_device().type == "cpu" else FULL


@dataclass(frozen=True)
class Collection:
    """A corpus, what is learnt from, and what is asked in the end."""

    name: str
    corpus: Corpus
    train: list[Context]
    test: list[Context]


def load(data: Path, name: str, size: Size) -> Collection:
    """A collection by name, "xquad" or "clapnq"; corpora are kept under the build folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if name == "xquad":
        corpus, train, test = _xquad(data / "genret_xquad_en")
    else:
        mtrag = load_mtrag(data / "mtrag")
        corpus = mtrag.corpus("clapnq", FOLDER)
        train = [*mtrag.contexts("train", ["clapnq"]), *mtrag.single_turn("train")]
        test = list(mtrag.contexts("test", ["clapnq"]))
    train = [c for c in train if any(d in corpus for d in c.relevant)][: size.train]
    test = [c for c in test if any(d in corpus for d in c.relevant)][: size.test]
    crops = cropped_sentences(corpus, size.crops, seed=13) if size.crops else []
    return Collection(name, corpus, [*train, *crops], test)


def _xquad(folder: Path) -> tuple[Corpus, list[Context], list[Context]]:
    """Paragraphs and questions, split by question."""
    corpus = open_or_build(folder / "corpus.jsonl.gz", FOLDER / "xquad.arrow")
    qrels = read_qrels(folder / "qrels.tsv")
    asked = [replace(c, relevant=qrels[c.id]) for c in read_queries(folder / "queries.jsonl.gz") if c.id in qrels]
    order = np.random.default_rng(13).permutation(len(asked))
    first, second = (round(len(asked) * share) for share in np.cumsum(SPLIT))
    return corpus, [asked[i] for i in order[:first]], [asked[i] for i in order[second:]]


def teachers(corpus: Corpus, contexts: Sequence[Context], lists: Run) -> dict[str, Run]:
    """What each teacher makes of the lists, as scores: a dense encoder, and its fusion by rank with BM25.

    Both read the human rewrite of a turn where there is one, which the student never sees; neither was trained on these
    collections.
    """
    model = resolve("all-minilm-l6-v2")
    encoder = DenseStudent.from_pretrained(model, DenseSettings.of(model, gate=False)).to(fastest_device())
    asked = [c for c in contexts if lists.get(c.id)]
    alone = [c.rewrites.get(HUMAN, c.conversation.question) for c in asked]
    queries = encoder.encode_queries([Conversation.from_pairs([], text) for text in alone])
    names = sorted({name for c in asked for name in lists[c.id]})
    vectors = encoder.encode_documents([corpus[name].contents for name in names])
    place = {name: i for i, name in enumerate(names)}
    dense = {
        c.id: {name: float(vectors[place[name]] @ query) for name in lists[c.id]}
        for c, query in zip(asked, queries, strict=True)
    }
    lexical = bm25(corpus, [(c.id, text) for c, text in zip(asked, alone, strict=True)], len(corpus))
    fused = {c.id: _fused(dense[c.id], lexical[c.id]) for c in asked}
    return {"dense": dense, "fused": fused}


def scaled(teacher: Run, lists: Run) -> Run:
    """A teacher's scores, linearly on the range that the student's own scores of a list have."""
    made = {}
    for name, said in teacher.items():
        own = [lists[name][document] for document in said]
        low, high = min(said.values()), max(said.values())
        step = (max(own) - min(own)) / (high - low) if high > low else 0.0
        made[name] = {document: min(own) + step * (score - low) for document, score in said.items()}
    return made


def _fused(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Sum of reciprocal ranks within the documents of the first; the lexical list lacks what shares no word."""
    mine = sorted(one, key=lambda name: -one[name])
    theirs = sorted(one, key=lambda name: -other.get(name, 0.0))
    return {name: 1 / (RRF + mine.index(name)) + 1 / (RRF + theirs.index(name)) for name in one}
