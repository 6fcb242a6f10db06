"""An exported sparse student, run by onnxruntime: conversations → sparse rows, without torch.

model.onnx       the graph of `students.onnx_graph`
onnx.json        whose export it is, its precision, settings, and what it was measured to lose
tokenizer files
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from distillir.conversation import Conversation
from distillir.errors import MissingDependencyError, ModelError
from distillir.rendering import RenderSettings, render
from distillir.students.tokens import ContentTokens
from distillir.students.whole_folder import whole_folder
from distillir.vectors import CSR, csr_from_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distillir.students.sparse import SparseStudent

ABOUT, GRAPH = "onnx.json", "model.onnx"
FORMAT = 1


class OnnxEncoder:
    """Encodes conversations as the student it was exported from; documents it cannot.

    Each conversation runs by itself, in one thread; several run side by side. So a vector depends on nothing but its
    conversation.

    Args:
        folder: of the export.
        about: what `onnx.json` says.
        tokenizer: the student's.
        threads: conversations encoded at once; None: one a processor core.
    """

    def __init__(
        self, folder: Path, about: dict[str, Any], tokenizer: PreTrainedTokenizerBase, threads: int | None = None
    ) -> None:
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no class of its own for damaged files
            raise ModelError(f"{folder / GRAPH}: {_first_line(error)}", "export the student again") from error
        self.about = about
        self.student = str(about["student"])
        self.precision = str(about["precision"])
        self.dim = int(about["dim"])
        self.settings = RenderSettings(**about["render"])
        self.tokenizer = tokenizer
        self.tokens = ContentTokens(tokenizer)
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="onnx") if self._threads > 1 else None

    @classmethod
    def open(cls, folder: str | Path, threads: int | None = None) -> OnnxEncoder:
        """The export in a folder.

        Raises:
            ModelError: none, or a damaged one. MissingDependencyError: onnxruntime is not installed.
        """
        from transformers import AutoTokenizer

        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}")
            tokenizer = cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(folder))
            return cls(folder, about, tokenizer, threads)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder}: no export of a student ({_first_line(error)})", "run `distillir export-onnx RUN`"
            ) from error

    def encode_queries(self, conversations: Sequence[Conversation]) -> CSR:
        """Conversations → sparse rows, in order."""
        ids = [np.asarray([self._ids(chat)], np.int64) for chat in conversations]
        run = self._pool.map if self._pool is not None and len(ids) > 1 else map
        return csr_from_rows(list(run(self._row, ids)), self.dim)

    def terms(self, indices: Sequence[int]) -> list[str]:
        """Vocabulary strings of dimensions."""
        return list(self.tokenizer.convert_ids_to_tokens([int(i) for i in indices]))

    def fingerprint(self) -> str:
        """Of the student and how it was exported."""
        return f"{self.student}-{self.precision}"

    def _ids(self, chat: Conversation) -> list[int]:
        cls_id, sep_id = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return render(chat, self.tokens, cls_id=cls_id, sep_id=sep_id, settings=self.settings).ids

    def _row(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        weights: NDArray[np.float32] = self._session.run(None, {"ids": ids})[0][0]  # (V,)
        active = np.flatnonzero(weights).astype(np.int32)
        values = weights[active]
        if not np.isfinite(values).all():
            raise ModelError("the export's vectors are not finite", "export the student again")
        return active, values


def is_export(folder: str | Path) -> bool:
    """Whether a folder holds an exported student."""
    return (Path(folder) / ABOUT).is_file()


def save_export(
    student: SparseStudent,
    folder: str | Path,
    *,
    int8: bool,
    check: Callable[[OnnxEncoder], Mapping[str, Any]] = lambda encoder: {},
) -> None:
    """Export a student into a folder, whole or not at all.

    Args:
        student: what is exported.
        folder: new, empty, or an older export.
        int8: quantise the graph.
        check: called with the export before it takes its place, which it does not where this raises; what it says is
            kept in `onnx.json` as `quality`.

    Raises:
        ModelError: the folder holds something else, the disk is full, or the architecture cannot be exported.
        MissingDependencyError: a package is not installed.
    """
    from distillir.students.onnx_graph import quantise, write_onnx

    _onnxruntime()
    folder = Path(folder).absolute()
    if folder.exists() and not is_export(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} holds something else than an export", "name a new or empty folder")
    with whole_folder(folder, ModelError, "an export saved there before is as it was") as fresh:
        write_onnx(student, fresh / ("plain.onnx" if int8 else GRAPH))
        if int8:
            quantise(fresh / "plain.onnx", fresh / GRAPH)
            (fresh / "plain.onnx").unlink()
        student.tokenizer.save_pretrained(fresh)
        about = {"format": FORMAT, "student": student.fingerprint(), "precision": "int8" if int8 else "fp32"}
        about |= {"dim": student.dim, "render": asdict(student.settings.render)}
        quality = dict(check(OnnxEncoder(fresh, about, student.tokenizer)))
        (fresh / ABOUT).write_text(json.dumps(about | {"quality": quality}, indent=1) + "\n", encoding="utf-8")


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingDependencyError("onnxruntime", "serve") from None
    return onnxruntime


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
