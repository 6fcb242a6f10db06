"""Turn → top-100 over HTTP on MTRAG cloud: the exported student against torch and against a rewriting language model.

The student is distilled on MTRAG, CANARD and QReCC (the row `student` of the benchmark mtrag), exported to int8, and
served by `distillir serve` in a process of its own over the domain's pooled corpus. Users wait for a reply before they
ask again; nothing is remembered between requests. (a) the same service with torch in float32; (b) SmolLM2-135M rewrites
the question through llama.cpp on this machine, and the same service searches; `--full` asks Qwen2.5-Coder-1.5B too,
where its packages are installed. `--full` ends with ten minutes at 80 % of
capacity while documents come and go, the service reloads and is killed, and every reply is replayed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.mtrag import student as train_student
from benchmarks.mtrag_data import BUILD, MODEL, Material, load, say
from benchmarks.serve_load import Client, Process, under_load
from benchmarks.serve_soak import soak
from benchmarks.serve_speed import encoders, matmul_ms
from distillir.data import Context, write_contexts
from distillir.errors import ConfigError, ModelError
from distillir.recipes import SparseRecipe
from distillir.recipes.onnx import OnnxExport, export_run
from distillir.recipes.progress import Stages
from distillir.recipes.stages import indexed
from distillir.recipes.workshop import SAVED
from distillir.serving import Rewriter
from distillir.students import OnnxEncoder, SparseStudent
from distillir.students.checkpoint import is_student
from distillir.teachers import LlamaServer, ServerSettings
from distillir.teachers.packaged_llm import gguf_of

DOMAIN, K = "cloud", 100
LLM, LARGE = "smollm2-135m", "qwen2.5-coder-1.5b"


@dataclass(frozen=True)
class Size:
    """Users at once, seconds of each load, turns each language model rewrites, encoders' repeats, soak's seconds."""

    users: tuple[int, ...]
    seconds: float
    rewritten: int
    large: int
    chats: int
    repeats: int
    soak: float


SHORT = Size(users=(1, 4, 16), seconds=15, rewritten=12, large=0, chats=20, repeats=3, soak=20)
FULL = Size(users=(1, 4, 16), seconds=20, rewritten=30, large=6, chats=30, repeats=3, soak=600)


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The figures."""
    if data is None:
        raise ConfigError("serve needs the data sets", "give --data DIR")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    material = load(data)
    beds = material.beds()
    kept = BUILD / "serve" / "student"
    if is_student(kept):
        student = SparseStudent.from_pretrained(kept)
    else:
        student = train_student(material, beds["dev"], "student", "collection")
        student.save(kept)
    return measured(material, student, FULL if full else SHORT, BUILD / "serve")


def measured(material: Material, student: SparseStudent, size: Size, folder: Path) -> dict[str, Any]:
    """The result at a size."""
    turns = [c for c in [*material.dev, *material.test] if c.domain == DOMAIN]
    out = run_folder(material, student, turns, folder / "run")
    exported = exported_run(out)
    chats = [context.conversation for context in turns][:: max(1, len(turns) // size.chats)][: size.chats]
    student.eval()
    speed = encoders(student, OnnxEncoder.open(out / "onnx"), chats, 256, size.repeats)
    bodies = [{"messages": context.conversation.messages(), "k": K} for context in turns]
    rows: dict[str, dict[str, Any]] = {}
    for name, encoder in (("onnx", "onnx"), ("torch", "torch")):
        with Process(out, "--encoder", encoder, "--cache", "0") as process:
            for users in size.users:
                say(f"{name}, {users} users")
                rows[f"{name}_{users}"] = under_load(process.url, bodies, users, size.seconds).row()
            if name == "onnx":
                follow_ups = [c for c in turns if c.conversation.depth > 1]
                rows["llm_1"] = rewriting(process, LLM, follow_ups[: size.rewritten])
                if size.large and at_hand(LARGE):
                    rows["llm_large_1"] = rewriting(process, LARGE, follow_ups[: size.large])
    capacity = max(rows[f"onnx_{users}"]["per_s"] for users in size.users)
    texts = [material.corpora[DOMAIN].text(i) for i in range(40)]
    soaked = soak(out, bodies, 0.8 * capacity, size.soak, texts)
    first = rows[f"onnx_{size.users[0]}"]
    return {
        "bench": "serve",
        "p95_ms": first["p95_ms"],
        "ratio_llm": round(rows["llm_1"]["p50_ms"] / first["p50_ms"], 1),
        "ratio_llm_large": round(rows["llm_large_1"]["p50_ms"] / first["p50_ms"], 1) if "llm_large_1" in rows else None,
        "ratio_torch": speed["random_6x384"]["ratio"],
        "ratio_torch_trained": speed["trained"]["ratio"],
        "ratio_torch_service": round(rows[f"torch_{size.users[0]}"]["p50_ms"] / first["p50_ms"], 2),
        "r100_loss": round(exported.loss, 5),
        "lost": soaked["lost"],
        "wrong": soaked["wrong"],
        "matmul_1024_ms": matmul_ms(),
        "r100": {"torch": round(exported.before, 4), "int8": round(exported.after, 4), "turns": exported.contexts},
        "rows": rows,
        "encoders": speed,
        "soak": soaked,
        "documents": len(material.corpora[DOMAIN]),
    }


def run_folder(material: Material, student: SparseStudent, turns: Sequence[Context], out: Path) -> Path:
    """A run folder of one domain, of vectors that exist already."""
    say("run folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    corpus, documents = material.corpora[DOMAIN], material.documents[DOMAIN]
    shutil.copy(corpus.path, out / "corpus.arrow")
    shutil.copytree(documents.path, out / "corpus.vectors")
    write_contexts(out / "turns.jsonl", turns)
    recipe = SparseRecipe(out=out, corpus=corpus.path, dev=out / "turns.jsonl", model=MODEL)
    (out / SAVED).write_text(json.dumps(recipe.resolved()), encoding="utf-8")
    student.save(out / "student")
    with Stages(quiet=True) as stages:
        indexed(out, "qdrant_edge", corpus, documents, stages)
    return out


def exported_run(out: Path) -> OnnxExport:
    """Exported whatever it loses: the loss is what is measured."""
    say("export")
    return export_run(out, tolerance=0.99)


def at_hand(model: str) -> bool:
    """Whether its packages are installed."""
    try:
        gguf_of(model)
    except ModelError:
        return False
    return True


def rewriting(process: Process, model: str, turns: Sequence[Context]) -> dict[str, float]:
    """One user whose question a language model rewrites before it is searched."""
    say(f"{model}, {len(turns)} turns")
    spent = []

    async def ask() -> None:
        with LlamaServer(ServerSettings(model)) as server:
            async with Rewriter(server.endpoint()) as rewriter:
                await rewriter.rewrite(turns[-1].conversation)  # the first call loads pages
                for turn in turns:
                    begun = time.perf_counter()
                    made = await rewriter.rewrite(turn.conversation)
                    question = [{"role": "user", "content": made.text or turn.conversation.question}]
                    # A connection of its own: the service closes one that was silent while the model wrote.
                    Client(process.url).post("/v1/search", {"messages": question, "k": K})
                    spent.append((time.perf_counter() - begun) * 1e3)

    asyncio.run(ask())
    p50, p95 = np.quantile(spent, [0.5, 0.95])
    return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1), "turns": len(spent)}
