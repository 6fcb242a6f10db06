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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from distillir.conversation import Conversation
from distillir.errors import ModelError
from distillir.rendering import RenderSettings, render
from distillir.students.onnx_session import first_line, onnxruntime, open_session
from distillir.students.tokens import ContentTokens
from distillir.students.whole_folder import whole_folder
from distillir.vectors import CSR, csr_from_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distillir.students.sparse import SparseStudent

ABOUT, GRAPH = "onnx.json", "model.onnx"
CURE = "export the student again"
FORMAT = 1


class OnnxEncoder:
    """Encodes conversations as the student it was exported from; documents it cannot.

    A lone conversation is run by all threads together; several run side by side, one thread each, which is more a
    second. The vector is the same either way, and depends on nothing but its conversation.

    Args:
        folder: of the export.
        about: what `onnx.json` says.
        tokenizer: the student's.
        threads: to compute with; None: one a processor core.
    """

    def __init__(
        self, folder: Path, about: dict[str, Any], tokenizer: PreTrainedTokenizerBase, threads: int | None = None
    ) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._one = open_session(folder / GRAPH, CURE)
        self._all = open_session(folder / GRAPH, CURE, self._threads) if self._threads > 1 else self._one
        self.about = about
        self.student = str(about["student"])
        self.precision = str(about["precision"])
        self.dim = int(about["dim"])
        self.settings = RenderSettings(**about["render"])
        self.tokenizer = tokenizer
        self.tokens = ContentTokens(tokenizer)
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
                f"{folder}: no export of a student ({first_line(error)})", "run `distillir export-onnx RUN`"
            ) from error

    def encode_queries(self, conversations: Sequence[Conversation]) -> CSR:
        """Conversations → sparse rows, in order."""
        ids = [np.asarray([self._ids(chat)], np.int64) for chat in conversations]
        if self._pool is None or len(ids) < 2:
            return csr_from_rows([self._row(self._all, row) for row in ids], self.dim)
        return csr_from_rows(list(self._pool.map(partial(self._row, self._one), ids)), self.dim)

    def terms(self, indices: Sequence[int]) -> list[str]:
        """Vocabulary strings of dimensions."""
        return list(self.tokenizer.convert_ids_to_tokens([int(i) for i in indices]))

    def fingerprint(self) -> str:
        """Of the student and how it was exported."""
        return f"{self.student}-{self.precision}"

    def _ids(self, chat: Conversation) -> list[int]:
        cls_id, sep_id = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return render(chat, self.tokens, cls_id=cls_id, sep_id=sep_id, settings=self.settings).ids

    def _row(self, session: Any, ids: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        weights: NDArray[np.float32] = session.run(None, {"ids": ids})[0][0]  # (V,)
        active = np.flatnonzero(weights).astype(np.int32)
        values = weights[active]
        if not np.isfinite(values).all():
            raise ModelError("the export's vectors are not finite", CURE)
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

    onnxruntime()
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
