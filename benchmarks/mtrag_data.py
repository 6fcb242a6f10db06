"""What the MTRAG benchmarks share: corpora, vectors, contexts, test beds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distillir.data import Context, Corpus, load_canard, load_dstc11, load_llm_rewrites, load_mtrag, load_qrecc
from distillir.encoding import encode_corpus
from distillir.recipes.measure import TestBed
from distillir.students import SparseSettings, SparseStudent, resolve
from distillir.vectors import SparseVectors, SparseVectorsWriter

MODEL = "splade-tiny"
DOMAINS = ("clapnq", "cloud", "fiqa")  # govt's pooled corpus is far too small: reported apart
BUILD = Path("build/benchmarks")
PLAIN = SparseSettings(gate=False)


def say(text: str) -> None:
    """A line of progress, away from the result on standard output."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Material:
    """Everything the MTRAG benchmarks read.

    Attributes:
        encoder: the frozen SPLADE-tiny.
        corpora, documents: by domain; "dstc11" too.
        pooled: vectors of the candidate corpus, clapnq+cloud+fiqa.
        train: MTRAG train turns of the three domains. outside: CANARD and QReCC turns.
        dev, test, govt, dstc11: judged turns.
    """

    encoder: SparseStudent
    corpora: dict[str, Corpus]
    documents: dict[str, SparseVectors]
    pooled: SparseVectors
    train: list[Context]
    outside: list[Context]
    dev: list[Context]
    test: list[Context]
    govt: list[Context]
    dstc11: list[Context]

    def beds(self) -> dict[str, TestBed]:
        """Test beds by split."""
        own = {d: self.documents[d] for d in DOMAINS}
        return {
            "dev": TestBed(self.dev, own),
            "test": TestBed(self.test, own),
            "govt": TestBed(self.govt, {"govt": self.documents["govt"]}),
            "dstc11": TestBed(self.dstc11, {"dstc11": self.documents["dstc11"]}),
        }


def load(data: Path, build: Path = BUILD) -> Material:
    """Read and encode; vectors and corpora are kept under `build`."""
    encoder = SparseStudent.from_pretrained(resolve(MODEL), PLAIN)
    encoder.screen = True
    mtrag, dstc = load_mtrag(data / "mtrag"), load_dstc11(data / "dstc11_track5")
    (build / "corpora").mkdir(parents=True, exist_ok=True)
    corpora = {d: mtrag.corpus(d, build / "corpora") for d in (*DOMAINS, "govt")}
    corpora["dstc11"] = dstc.corpus(build / "corpora")
    documents = {}
    for name, corpus in corpora.items():
        say(f"vectors of {name}")
        documents[name] = encode_corpus(encoder, corpus, build / "vectors" / name, watch=watcher(name))
    pooled = _joined([documents[d] for d in DOMAINS], build / "vectors" / "+".join(DOMAINS))
    llm = load_llm_rewrites(data / "llm_rewrites" / "mtrag.qwen2.5-coder-1.5b.jsonl")

    def turns(split: str | None, domains: Sequence[str]) -> list[Context]:
        return list(llm.attach(mtrag.contexts(split, domains), "llm"))

    outside = [
        *load_canard(data / "rewrites" / "canard_dev.jsonl.gz").contexts,
        *load_qrecc(data / "rewrites" / "qrecc_dev2k.jsonl.gz").contexts,
    ]
    return Material(
        encoder=encoder,
        corpora=corpora,
        documents=documents,
        pooled=pooled,
        train=turns("train", DOMAINS),
        outside=outside,
        dev=turns("dev", DOMAINS),
        test=turns("test", DOMAINS),
        govt=turns(None, ["govt"]),
        dstc11=[replace(c, domain="dstc11") for c in dstc.contexts("test")],
    )


def _joined(parts: Sequence[SparseVectors], folder: Path) -> SparseVectors:
    """Several stores as one, in their order."""
    meta = {"encoder": parts[0].meta["encoder"], "parts": [p.digest() for p in parts]}
    with SparseVectorsWriter(folder, parts[0].dim, parts[0].dtype, meta=meta) as writer:
        for part in parts:
            for start, rows in part.blocks():
                names = [part.ids[start + i] for i in range(rows.rows)]
                if not writer.has(names[0]):
                    writer.append(names, rows)
    return SparseVectors.open(folder)


def watcher(name: str) -> Callable[[int, int], None]:
    """A line every four thousand documents."""

    def watch(done: int, total: int) -> None:
        if done % 4096 == 0 or done == total:
            say(f"  {name}: {done:,} of {total:,}")

    return watch
