"""Sparse students on disk: a folder that `sentence_transformers.SparseEncoder` opens.

With gate and turn embeddings off the folder holds sentence-transformers' own modules and opens
without this package. With either on, one module of ours replaces transformer and pooling.
Beside them `distillir.json` keeps the settings and `turns.safetensors` the extra weights.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillir.errors import ModelError
from distillir.rendering import RenderSettings
from distillir.students import backbone
from distillir.students.whole_folder import whole_folder

if TYPE_CHECKING:
    from distillir.students.sparse import SparseSettings, SparseStudent

SETTINGS_FILE = "distillir.json"
TURNS_FILE = "turns.safetensors"
FORMAT = 1


def is_student(folder: str | Path) -> bool:
    """Whether a folder holds a saved student."""
    return (Path(folder) / SETTINGS_FILE).is_file()


def save_student(student: SparseStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not is_student(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} holds something else than a saved student", "name a new or empty folder")
    with whole_folder(folder, ModelError, "a student saved there before is as it was") as fresh, backbone.quiet():
        if opens_plainly(student):
            _save_plain(student, fresh)
        else:
            _save_ours(student, fresh)
        _write_card(student, fresh)


def opens_plainly(student: SparseStudent) -> bool:
    """Whether sentence-transformers' own modules compute the same: neither gate nor turn embeddings, and a tokenizer
    to which spaces beside a separator mean nothing (byte-level ones read them)."""
    sep = student.tokenizer.sep_token
    ids = student.tokenizer(f"one two {sep} three", add_special_tokens=False, verbose=False)["input_ids"]
    apart = [*student.tokens.read("one two"), student.tokenizer.sep_token_id, *student.tokens.read("three")]
    return student.settings.plain and list(ids) == apart


def write_student_files(student: SparseStudent, folder: Path) -> None:
    """Backbone, tokenizer, settings and extra weights."""
    student.model.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)
    if extra := _extra(student):
        save_file(extra, folder / TURNS_FILE)
    record = {"format": FORMAT, "student": "sparse", **asdict(student.settings)}
    (folder / SETTINGS_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_student(folder: str | Path) -> SparseStudent:
    """Re-open what `save_student` wrote.

    Raises:
        ModelError: unreadable settings, or extra weights that are missing or do not fit.
    """
    from distillir.students.sparse import SparseStudent  # it loads this module

    folder = Path(folder)
    settings = read_settings(folder)
    student = SparseStudent(*backbone.load_backbone(folder), settings)
    if wanted := _extra(student):
        path = folder / TURNS_FILE
        try:
            extra = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: {error}", "the checkpoint is incomplete; save it again") from error
        if {k: v.shape for k, v in extra.items()} != {k: v.shape for k, v in wanted.items()}:
            raise ModelError(
                f"{path} holds {', '.join(sorted(extra))}; the settings and model ask for {', '.join(sorted(wanted))}",
                "the folder mixes two checkpoints; save the student again",
            )
        student.load_state_dict(extra, strict=False)
    return student.eval()


def read_settings(folder: Path) -> SparseSettings:
    """Settings of a saved student."""
    from distillir.students.sparse import SparseSettings

    path = folder / SETTINGS_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT or record.pop("student") != "sparse":
            raise ModelError(f"{path}: not a sparse student of format {FORMAT}", "update distillir")
        return SparseSettings(render=RenderSettings(**record.pop("render")), **record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable settings ({error})", "save the student again") from error


def _extra(student: SparseStudent) -> dict[str, Tensor]:
    """Weights besides the backbone's."""
    return {k: v.contiguous() for k, v in student.state_dict().items() if k.startswith(("gate.", "turns."))}


def _save_plain(student: SparseStudent, folder: Path) -> None:
    from sentence_transformers import SparseEncoder  # seconds to import
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    write_student_files(student, folder)
    transformer = Transformer(
        str(folder), transformer_task="fill-mask", max_seq_length=student.settings.render.max_length
    )
    modules = [transformer, SpladePooling("max", embedding_dimension=student.dim)]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)


def _save_ours(student: SparseStudent, folder: Path) -> None:
    from sentence_transformers import SparseEncoder  # seconds to import

    from distillir.students.st_module import ConversationSplade  # it loads this module

    device = next(student.parameters()).device  # the encoder made for saving would move the student
    encoder = SparseEncoder(modules=[ConversationSplade(student)], device=str(device))
    encoder.save_pretrained(str(folder), create_model_card=False)


def _write_card(student: SparseStudent, folder: Path) -> None:
    render = student.settings.render
    plain = opens_plainly(student)
    opening = "SparseEncoder(path)" if plain else "SparseEncoder(path, trust_remote_code=True)"
    order = f"newest first, answers {'in' if render.answers else 'out'}, {render.max_length} tokens"
    sep = student.tokenizer.sep_token
    string = f"and when? {sep} Frank Herbert. {sep} " if render.answers else f"and when? {sep} "
    extra = (
        f"It takes conversations as one string, separated by `{sep}`; what passes {render.max_length} tokens\n"
        "falls off at the old end.\n"
        if plain
        else "It takes such strings and OpenAI-style messages. Its module lives in `distillir`, which must be\n"
        "installed; sentence-transformers asks for `trust_remote_code=True` before it imports\n"
        "a module of another package.\n"
    )
    (folder / "README.md").write_text(
        f"---\nlibrary_name: sentence-transformers\ntags: [sparse-encoder, splade, conversational-search]\n---\n\n"
        f"# Conversational sparse query encoder\n\nReads {order}; scores documents of the frozen encoder it was "
        f"distilled against by plain dot product. Encode **queries** with it, never documents.\n\n```python\n"
        f"from sentence_transformers import SparseEncoder\n\nencoder = {opening}\n"
        f'encoder.encode(["{string}who wrote Dune?"])\n```\n\n{extra}',
        encoding="utf-8",
    )
