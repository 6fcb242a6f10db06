"""A sparse student as one plain ONNX graph: token ids (1, L) → weights (1, V).

One conversation at a time, so no padding and no mask: a quantised graph scales activations over its whole input, and
with others in the batch a vector would depend on its neighbours. Turn types are computed from the ids inside the
graph; turn embeddings and gate are part of it. The head walks blocks of the vocabulary and takes the maximum over
tokens first, as in `students.head`; (L, C) is two-dimensional because onnxruntime reduces the first axis of a matrix
several times as fast as the middle one of three.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distillir.conversation import Conversation
from distillir.errors import MissingDependencyError, ModelError
from distillir.students import backbone
from distillir.students.head import CHUNK
from distillir.students.sparse import SparseStudent, evaluating

INPUT, OUTPUT = "ids", "weights"


class PlainSparse(nn.Module):
    """What is traced: the student without its fused head.

    Args:
        student: whose weights it shares.
        chunk: vocabulary entries a block.
    """

    def __init__(self, student: SparseStudent, chunk: int = CHUNK) -> None:
        super().__init__()
        self.student = student
        projection = backbone.projection_of(student.model)
        rows = projection.weight.detach()  # (V, H)
        shift = torch.zeros(student.dim) if projection.bias is None else projection.bias.detach()  # (V,)
        self.blocks = [(rows[lo : lo + chunk], shift[lo : lo + chunk]) for lo in range(0, student.dim, chunk)]

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (1, L) → weights (1, V)."""
        states, gate = self.student.states(ids, torch.ones_like(ids, dtype=torch.bool))
        peaks = []
        for weight, bias in self.blocks:
            logits = states[0] @ weight.t()  # (L, C)
            if gate is not None:
                logits = logits + gate[0][:, None]
            peaks.append(logits.amax(0) + bias)  # (C,)
        return torch.log1p(torch.relu(torch.cat(peaks)))[None]


def write_onnx(student: SparseStudent, path: Path) -> None:
    """Write the graph in float32.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
        ModelError: torch cannot trace this architecture.
    """
    sample = Conversation.from_pairs([("who wrote it", "a writer")], "and when was that")
    ids = torch.tensor([student.render(sample).ids])
    longest = student.settings.render.max_length
    length = torch.export.Dim("length", min=2, max=longest)
    with evaluating(student), plain_attention(student.model), torch.no_grad():
        exported(PlainSparse(student), {INPUT: ids}, {1: length}, path, OUTPUT)


@contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """Attention as two products and a softmax: torch's fused one is traced with guards that a processor pays for."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def exported(module: nn.Module, inputs: Mapping[str, Tensor], free: Mapping[int, Any], path: Path, output: str) -> None:
    """Trace a module into a file.

    Args:
        module: takes the inputs in their order.
        inputs: name → sample.
        free: axis → name or range; the same of every input.
        path: of the graph. output: its name.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
        ModelError: torch cannot trace this architecture.
    """
    for package in ("onnx", "onnxscript"):
        try:
            __import__(package)
        except ModuleNotFoundError:
            raise MissingDependencyError(package, "onnx") from None
    with _quietly():
        try:
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                path,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=tuple(dict(free) for _ in inputs),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter has many ways to say no
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"this architecture has no ONNX graph ({reason})",
                "use the student itself: --encoder torch in a service",
            ) from error


def quantise(source: Path, target: Path) -> None:
    """Weights of all matrix products as int8, by channel; activations are scaled as they come (dynamic quantisation).

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ModuleNotFoundError:
        raise MissingDependencyError("onnx", "onnx") from None
    with _quietly():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporter and quantiser say of themselves; what matters is checked on the finished graph."""
    names = ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir", "")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
