"""Opening a graph with onnxruntime, on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distillir.errors import MissingDependencyError, ModelError


def onnxruntime() -> Any:
    """The package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import onnxruntime as package
    except ModuleNotFoundError:
        raise MissingDependencyError("onnxruntime", "serve") from None
    return package


def open_session(graph: Path, cure: str, threads: int = 1) -> Any:
    """A session that computes with some threads; several threads may run it side by side.

    Raises:
        ModelError: a damaged file, with `cure`. MissingDependencyError: onnxruntime is not installed.
    """
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Threads that wait for work by turning starve whoever shares the processor.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # onnxruntime's fused skip + normalisation is slower on a processor than the two by themselves.
    apart = ["SkipLayerNormFusion"]
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=apart)
    except Exception as error:  # onnxruntime has no class of its own for damaged files
        raise ModelError(f"{graph}: {first_line(error)}", cure) from error


def first_line(error: Exception) -> str:
    """Of what an error says; of its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
