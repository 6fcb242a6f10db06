"""What the dense MTRAG benchmark reads: corpora, vectors of all-MiniLM-L6-v2, contexts, test beds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mtrag_data import BUILD, DOMAINS, say, watcher
from distillir.data import Context, load_canard, load_llm_rewrites, load_mtrag, load_qrecc
from distillir.encoding.dense import encode_dense_corpus
from distillir.recipes.dense_measure import DenseTestBed
from distillir.rendering import RenderSettings
from distillir.students import resolve
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_writer import DenseVectorsWriter

MODEL = "all-minilm-l6-v2"
LENGTH = 128  # tokens of a passage: half the model's own, for a third of the time
CONVERSATION = 64  # tokens a student reads; chosen on train and dev turns, where 128 were no better
FOLDER = BUILD / "dense"


@dataclass(frozen=True)
class DenseMaterial:
    """Everything the benchmark reads.

    Attributes:
        encoder: the frozen model.
        documents: domain → vectors. pooled: those of all domains, the candidate corpus.
        train: MTRAG train turns. outside: CANARD and QReCC turns. dev, test: judged turns.
    """

    encoder: DenseStudent
    documents: dict[str, DenseVectors]
    pooled: DenseVectors
    train: list[Context]
    outside: list[Context]
    dev: list[Context]
    test: list[Context]

    def beds(self) -> dict[str, DenseTestBed]:
        """Test beds by split; each query is searched in its own domain."""
        return {"dev": DenseTestBed(self.dev, self.documents), "test": DenseTestBed(self.test, self.documents)}


def settings(**changes: object) -> DenseSettings:
    """Of the encoder, which reads conversations at the length of passages; with changes, of a student."""
    render = RenderSettings(max_length=CONVERSATION if changes else LENGTH)
    return DenseSettings.of(resolve(MODEL), **{"render": render, "document_length": LENGTH, **changes})


def load(data: Path, domains: Sequence[str] = DOMAINS, build: Path = FOLDER) -> DenseMaterial:
    """Read and encode; vectors and corpora are kept under `build`."""
    encoder = DenseStudent.from_pretrained(resolve(MODEL), settings())
    encoder.bf16 = True
    mtrag = load_mtrag(data / "mtrag")
    (BUILD / "corpora").mkdir(parents=True, exist_ok=True)
    documents = {}
    for domain in domains:
        say(f"vectors of {domain}")
        corpus = mtrag.corpus(domain, BUILD / "corpora")
        documents[domain] = encode_dense_corpus(encoder, corpus, build / "vectors" / domain, watch=watcher(domain))
    encoder.bf16 = False
    llm = load_llm_rewrites(data / "llm_rewrites" / "mtrag.qwen2.5-coder-1.5b.jsonl")
    turns = {split: list(llm.attach(mtrag.contexts(split, domains), "llm")) for split in ("train", "dev", "test")}
    outside = [
        *load_canard(data / "rewrites" / "canard_dev.jsonl.gz").contexts,
        *load_qrecc(data / "rewrites" / "qrecc_dev2k.jsonl.gz").contexts,
    ]
    pooled = _joined(list(documents.values()), build / "vectors" / "+".join(domains))
    return DenseMaterial(encoder, documents, pooled, outside=outside, **turns)


def _joined(parts: Sequence[DenseVectors], folder: Path) -> DenseVectors:
    """Several stores as one, in their order."""
    first = parts[0]
    meta = {"encoder": first.encoder, "parts": [part.fingerprint for part in parts]}
    with DenseVectorsWriter(folder, first.dim, first.dtype, "cosine", meta=meta) as writer:
        for part in parts:
            for start, rows in part.blocks():
                names = part.ids[start : start + len(rows)]
                if not writer.has(names[0]):
                    writer.append(names, rows)
    return DenseVectors.open(folder)
