"""The variants of a training step that `train_step` compares, each measured in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

B, NEGATIVES, LENGTH = 10, 16, 256
FIRST_WORD = 1000  # below are BERT's special and unused entries
TIMED = {"ours": 5, "screen": 5, "stored": 3, "published": 1, "st": 1}


def threads() -> int:
    """Threads of every variant: OMP_NUM_THREADS, or all cores."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1


def prepare(name: str, folder: Path) -> None:
    """Weights, token ids, stored document vectors and teacher scores, the same for every variant."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

    from distillir.students.packaged import SPLADE_TINY, locate
    from distillir.students.sparse import SparseSettings, SparseStudent

    torch.manual_seed(0)
    source = locate(SPLADE_TINY)
    if name == "tiny":
        model = AutoModelForMaskedLM.from_pretrained(source)
    else:
        shape = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
        model = BertForMaskedLM(shape)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)

    def draw(*size: int) -> torch.Tensor:
        return torch.randint(FIRST_WORD, model.config.vocab_size, size)

    queries, rewrites, documents = draw(B, LENGTH), draw(B, 32), draw(B * (1 + NEGATIVES), LENGTH)
    student = SparseStudent.from_pretrained(folder, SparseSettings(gate=False)).eval()

    def encode(ids: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [student.represent(part, torch.ones_like(part, dtype=torch.bool)) for part in torch.split(ids, B)]
        )

    with torch.inference_mode():
        stored, teacher = encode(documents), encode(rewrites)
    scores = (teacher @ stored.t()).view(B, B, 1 + NEGATIVES)[torch.arange(B), torch.arange(B)]  # own lists
    rows, dimensions = stored.nonzero(as_tuple=True)
    np.savez(
        folder / "stored.npz",
        queries=queries.numpy(),
        documents=documents.numpy(),
        scores=scores.numpy(),
        tau=np.array(scores.std(1).mean()),  # the scale of the teacher, so that the loss is neither flat nor endless
        indptr=np.concatenate([[0], np.cumsum(np.bincount(rows.numpy(), minlength=len(stored)))]),
        indices=dimensions.numpy(),
        values=stored[rows, dimensions].numpy(),
    )


def measure(folder: Path, variant: str, negatives: int) -> dict[str, float]:
    """Loss, memory and seconds of one variant's step."""
    import torch

    from distillir.objectives import KLD, InfoNCE, Output, Targets, WeightedSum
    from distillir.sparsity import active_dimensions, anti_zero

    torch.set_num_threads(threads())
    with np.load(folder / "stored.npz", allow_pickle=False) as held:
        data = {name: held[name] for name in held.files}
    kept = np.arange(B * (1 + NEGATIVES)).reshape(B, -1)[:, : 1 + negatives]  # (B, 1 + n) rows, the gold first
    gold = torch.zeros(B, 1 + negatives, dtype=torch.bool)
    gold[:, 0] = True
    targets = Targets(scores=torch.from_numpy(data["scores"][:, : 1 + negatives]), gold=gold)
    objective = WeightedSum(((0.99, KLD(tau=float(data["tau"]))), (0.01, InfoNCE(tau=float(data["tau"])))))
    parameters, forward = _forward(folder, variant, data, torch.from_numpy(kept))
    optimizer = torch.optim.AdamW(parameters, lr=2e-5)

    def once() -> tuple[float, float]:
        vectors, listed, shared, allowed = forward()
        mask = torch.ones_like(gold)
        output = Output(listed, mask, vectors=vectors, shared=shared, shared_mask=allowed)
        loss = objective(output, targets) + anti_zero(vectors)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item(), float(active_dimensions(vectors.detach()).float().mean())

    before = _peak(reset=True)
    started = time.perf_counter()
    loss, active = once()
    seconds = [time.perf_counter() - started]
    memory = (_peak() - before) / 2**20
    if TIMED[variant] > 1:  # the first step warmed up
        seconds = []
        for _ in range(TIMED[variant]):
            started = time.perf_counter()
            once()
            seconds.append(time.perf_counter() - started)
    return {"loss": loss, "seconds": median(seconds), "memory_mib": memory, "active_dims": active}


def _forward(folder: Path, variant: str, data: dict[str, Any], kept: Any) -> tuple[Iterator[Any], Callable[[], Any]]:
    """Parameters, and a function: () → vectors (B, V), own scores (B, 1 + n), shared scores (B, B·n), allowed mask."""
    import torch
    from sentence_transformers import SparseEncoder
    from transformers import AutoModelForMaskedLM

    from distillir.students.batch import StoredRows
    from distillir.students.sparse import SparseSettings, SparseStudent

    queries = torch.from_numpy(data["queries"])
    documents = torch.from_numpy(data["documents"])
    own = torch.arange(B)[:, None] == torch.arange(B).repeat_interleave(kept.shape[1] - 1)

    def lists(vectors: torch.Tensor, every: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Scores of every stored row (B, U) → the batch's lists."""
        return vectors, every.gather(1, kept), every[:, kept[:, 1:].reshape(-1)], ~own

    stored = StoredRows(*(torch.from_numpy(data[name]) for name in ("indptr", "indices", "values")))
    if variant in ("ours", "screen"):
        student = SparseStudent.from_pretrained(folder, SparseSettings(gate=False)).eval()
        student.screen = variant == "screen"

        def ours() -> Any:
            vectors = student.represent(queries, torch.ones_like(queries, dtype=torch.bool))
            return lists(vectors, stored.dot(vectors))

        return student.parameters(), ours
    if variant == "st":
        encoder = SparseEncoder(str(folder), device="cpu").train()  # its pooling has no gradient in evaluation mode
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0

        def embed(ids: torch.Tensor) -> torch.Tensor:
            out = encoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            embedding: torch.Tensor = out["sentence_embedding"]
            return embedding

        def sentence_transformers() -> Any:
            vectors = embed(queries)
            columns = torch.stack([embed(documents[column]) for column in kept.t()], dim=1)  # (B, 1 + n, V)
            listed = torch.einsum("bv,bnv->bn", vectors, columns)
            return vectors, listed, vectors @ columns[:, 1:].flatten(0, 1).t(), ~own

        return encoder.parameters(), sentence_transformers

    def plain(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(ids)
        logits = model(input_ids=ids, attention_mask=mask).logits  # (B, L, V)
        return torch.max(torch.log(1 + torch.relu(logits)) * mask[:, :, None], dim=1).values

    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    if variant == "stored":

        def stored_plain() -> Any:
            vectors = plain(model, queries)
            return lists(vectors, stored.dot(vectors))

        return model.parameters(), stored_plain
    frozen = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)

    def published() -> Any:
        vectors = plain(model, queries)
        with torch.no_grad():  # ten at a time: all 170 at once would need 5 GB a copy of their logits
            encoded = torch.cat([plain(frozen, part) for part in torch.split(documents, B)])
        return lists(vectors, vectors @ encoded.t())

    return model.parameters(), published


def _peak(reset: bool = False) -> int:
    """Largest resident size so far in bytes; with `reset`, counting starts again at the present size (Linux)."""
    status = Path("/proc/self/status")
    if status.exists():
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
