"""Sparse students on disk: a folder that `sentence_transformers.SparseEncoder` opens.

With gate and turn embeddings off the folder holds sentence-transformers' own modules and opens
without this package. With either on, one module of ours replaces transformer and pooling.
Beside them `distillir.json` keeps the settings and `turns.safetensors` the extra weights.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from distillir.errors import ModelError
from distillir.rendering import RenderSettings
from distillir.students import backbone

if TYPE_CHECKING:
    from distillir.students.sparse import SparseSettings, SparseStudent

SETTINGS_FILE = "distillir.json"
TURNS_FILE = "turns.safetensors"
FORMAT = 1


def is_student(folder: str | Path) -> bool:
    """Whether a folder holds a saved student."""
    return (Path(folder) / SETTINGS_FILE).is_file()


def save_student(student: SparseStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last, so a kill leaves the old or the new."""
    folder = Path(folder)
    fresh = folder.with_name(folder.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if student.settings.plain:
        _save_plain(student, fresh)
    else:
        _save_ours(student, fresh)
    if folder.exists():
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)


def write_student_files(student: SparseStudent, folder: Path) -> None:
    """Backbone, tokenizer, settings and extra weights."""
    student.model.save_pretrained(folder, state_dict=_untied(student.model.state_dict()))
    student.tokenizer.save_pretrained(folder)
    extra = {k: v.contiguous() for k, v in student.state_dict().items() if k.startswith(("gate.", "turns."))}
    if extra:
        save_file(extra, folder / TURNS_FILE)
    record = {"format": FORMAT, "student": "sparse", **asdict(student.settings)}
    (folder / SETTINGS_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_student(folder: str | Path) -> SparseStudent:
    """Re-open what `save_student` wrote.

    Raises:
        ModelError: unreadable settings, or extra weights that are missing or do not fit.
    """
    from distillir.students.sparse import SparseStudent  # noqa: PLC0415 - it loads this module

    folder = Path(folder)
    settings = read_settings(folder)
    student = SparseStudent(*backbone.load_backbone(folder), settings)
    if not settings.plain:
        try:
            extra = load_file(folder / TURNS_FILE)
            wanted = {k for k in student.state_dict() if k.startswith(("gate.", "turns."))}
            if set(extra) != wanted:
                raise ModelError(
                    f"{folder / TURNS_FILE} holds {sorted(extra)}, the settings ask for {sorted(wanted)}",
                    "the folder mixes two checkpoints; save the student again",
                )
            student.load_state_dict(extra, strict=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"{folder / TURNS_FILE}: {error}", "the checkpoint is incomplete; save it again") from error
    return student.eval()


def read_settings(folder: Path) -> SparseSettings:
    """Settings of a saved student."""
    from distillir.students.sparse import SparseSettings  # noqa: PLC0415

    path = folder / SETTINGS_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT or record.pop("student") != "sparse":
            raise ModelError(f"{path}: not a sparse student of format {FORMAT}", "update distillir")
        return SparseSettings(render=RenderSettings(**record.pop("render")), **record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable settings ({error})", "save the student again") from error


def _save_plain(student: SparseStudent, folder: Path) -> None:
    from sentence_transformers import SparseEncoder  # noqa: PLC0415 - seconds to import
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling  # noqa: PLC0415

    write_student_files(student, folder)
    transformer = MLMTransformer(str(folder), max_seq_length=student.settings.render.max_length)
    SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )
    _write_card(student, folder, "SparseEncoder(path)")


def _save_ours(student: SparseStudent, folder: Path) -> None:
    from sentence_transformers import SparseEncoder  # noqa: PLC0415

    from distillir.students.st_module import ConversationSplade  # noqa: PLC0415

    SparseEncoder(modules=[ConversationSplade(student)], device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )
    _write_card(student, folder, "SparseEncoder(path, trust_remote_code=True)")


def _write_card(student: SparseStudent, folder: Path, opening: str) -> None:
    render = student.settings.render
    order = f"newest first, answers {'in' if render.answers else 'out'}, {render.max_length} tokens"
    extra = (
        ""
        if student.settings.plain
        else "The turn gate lives in `distillir`, which must be installed; sentence-transformers asks for\n"
        "`trust_remote_code=True` before it imports a module of another package.\n"
    )
    (folder / "README.md").write_text(
        f"---\nlibrary_name: sentence-transformers\ntags: [sparse-encoder, splade, conversational-search]\n---\n\n"
        f"# Conversational sparse query encoder\n\nReads {order}; scores documents of the frozen encoder it was "
        f"distilled against by plain dot product. Encode **queries** with it, never documents.\n\n```python\n"
        f"from sentence_transformers import SparseEncoder\n\nencoder = {opening}\n"
        f'encoder.encode(["and when? [SEP] Frank Herbert. [SEP] who wrote Dune?"])\n```\n\n{extra}',
        encoding="utf-8",
    )


def _untied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied tensors once: safetensors refuses two names for one memory."""
    seen: dict[int, str] = {}
    kept = {}
    for name, tensor in sorted(state.items(), key=lambda item: "decoder" in item[0]):
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen[tensor.data_ptr()] = name
        kept[name] = tensor
    return kept
