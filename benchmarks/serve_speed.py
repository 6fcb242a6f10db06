"""Encoding one conversation at a time: the export against the student in torch, trained and of random weights."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from benchmarks.mtrag_data import MODEL, say
from distillir.conversation import Conversation
from distillir.evaluation import measure_latency
from distillir.students import OnnxEncoder, SparseSettings, SparseStudent, resolve, save_export
from distillir.students.backbone import tap

LAYERS, WIDTH = 6, 384


def random_student(length: int) -> SparseStudent:
    """Six layers of 384 with random weights and the packaged model's tokenizer."""
    tokenizer = SparseStudent.from_pretrained(resolve(MODEL)).tokenizer
    torch.manual_seed(13)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        intermediate_size=4 * WIDTH,
    )
    model: Any = BertForMaskedLM(config)
    model.eval()
    tap(model)
    settings = SparseSettings()
    return SparseStudent(model, tokenizer, replace(settings, render=replace(settings.render, max_length=length)))


def speeds(
    student: SparseStudent, export: OnnxEncoder, chats: Sequence[Conversation], repeats: int
) -> dict[str, float]:
    """Median milliseconds of each and their ratio; the two take turns, so that both meet the same machine."""
    times: dict[str, list[float]] = {"torch": [], "onnx": []}
    for _ in range(repeats):
        one_by_one: dict[str, Any] = {
            "torch": lambda chat: student.encode_queries([chat]),
            "onnx": lambda chat: export.encode_queries([chat]),
        }
        for name, call in one_by_one.items():
            times[name].append(measure_latency(call, chats, warmup=2).median_ms)
    torch_ms, onnx_ms = (float(np.median(found)) for found in times.values())
    return {"torch_ms": round(torch_ms, 2), "onnx_ms": round(onnx_ms, 2), "ratio": round(torch_ms / onnx_ms, 2)}


def encoders(
    trained: SparseStudent, export: OnnxEncoder, chats: Sequence[Conversation], length: int, repeats: int
) -> dict[str, Any]:
    """Speeds of the trained student and of random weights."""
    say("encoders")
    with tempfile.TemporaryDirectory() as scratch:
        student = random_student(length)
        save_export(student, Path(scratch) / "onnx", int8=True)
        random = speeds(student, OnnxEncoder.open(Path(scratch) / "onnx"), chats, repeats)
    return {"trained": speeds(trained, export, chats, repeats), f"random_{LAYERS}x{WIDTH}": random}


def matmul_ms() -> float:
    """Of a 1024³ product in float32: what this machine is worth today."""
    one = torch.randn(1024, 1024)
    times = []
    for _ in range(12):
        begun = time.perf_counter()
        one @ one
        times.append((time.perf_counter() - begun) * 1e3)
    return round(float(np.median(times[2:])), 2)
