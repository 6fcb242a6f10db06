"""The folder of a saved student: what a sparse and a dense one have in common.

Beside what sentence-transformers reads, `distillir.json` keeps the settings, `turns.safetensors` the weights of gate
and turn embeddings, and `README.md` says how to open and ask the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillir.errors import ModelError
from distillir.rendering import RenderSettings
from distillir.students.backbone import quiet
from distillir.students.whole_folder import whole_folder

if TYPE_CHECKING:
    from distillir.students.dense import DenseStudent
    from distillir.students.sparse import SparseStudent

Student: TypeAlias = "SparseStudent | DenseStudent"
S = TypeVar("S", bound="SparseStudent | DenseStudent")
Settings = TypeVar("Settings")

SETTINGS_FILE = "distillir.json"
TURNS_FILE = "turns.safetensors"
FORMAT = 1


def is_student(folder: str | Path) -> bool:
    """Whether a folder holds a saved student."""
    return (Path(folder) / SETTINGS_FILE).is_file()


def kind_of(folder: str | Path) -> str:
    """What kind of student a folder holds.

    Raises:
        ModelError: unreadable settings.
    """
    path = Path(folder) / SETTINGS_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["student"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable settings ({error})", "save the student again") from error


def save_folder(
    student: S,
    folder: str | Path,
    *,
    plain: Callable[[S, Path], None],
    ours: Callable[[S, Path], None],
    card: Callable[[S], str],
) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Args:
        student: what is saved.
        folder: new, empty, or of a saved student, which is replaced.
        plain: writes sentence-transformers' own modules; taken where they compute the same.
        ours: writes a module of this package.
        card: text of the README.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    with student_folder(folder) as fresh:
        (plain if opens_plainly(student) else ours)(student, fresh)
        (fresh / "README.md").write_text(card(student), encoding="utf-8")


@contextmanager
def student_folder(folder: str | Path) -> Iterator[Path]:
    """Yields a fresh folder to fill; it takes its place when the block ends well.

    Raises:
        ModelError: the place holds something else than a student, or the disk is full.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not is_student(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} holds something else than a saved student", "name a new or empty folder")
    with whole_folder(folder, ModelError, "a student saved there before is as it was") as fresh, quiet():
        yield fresh


def opens_plainly(student: Student) -> bool:
    """Whether sentence-transformers' own modules compute the same: neither gate nor turn embeddings, and a tokenizer
    to which spaces beside a separator mean nothing (byte-level ones read them)."""
    sep = student.tokenizer.sep_token
    ids = student.tokenizer(f"one two {sep} three", add_special_tokens=False, verbose=False)["input_ids"]
    apart = [*student.tokens.read("one two"), student.tokenizer.sep_token_id, *student.tokens.read("three")]
    return student.settings.plain and list(ids) == apart


def write_files(student: Student, folder: Path, kind: str) -> None:
    """Backbone, tokenizer, settings and extra weights of a "sparse" or "dense" student."""
    student.model.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)
    if extra := _extra(student):
        save_file(extra, folder / TURNS_FILE)
    write_settings(asdict(student.settings), folder, kind)


def write_settings(settings: Mapping[str, Any], folder: Path, kind: str) -> None:
    """The settings of a student of a kind, as `settings_in` reads them."""
    record = {"format": FORMAT, "student": kind, **settings}
    (folder / SETTINGS_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def settings_in(folder: Path, kind: str, make: Callable[..., Settings], cure: str) -> Settings:
    """Settings of a saved student.

    Args:
        folder: of the student.
        kind: "sparse" or "dense".
        make: the class of the settings.
        cure: what to do about a student of another kind or format.

    Raises:
        ModelError: unreadable settings, or of another kind or format.
    """
    path = folder / SETTINGS_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT or record.pop("student") != kind:
            raise ModelError(f"{path}: not a {kind} student of format {FORMAT}", cure)
        return make(render=RenderSettings(**record.pop("render")), **record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable settings ({error})", "save the student again") from error


def with_extra(student: S, folder: Path) -> S:
    """The student, ready to encode, with the weights of gate and turn embeddings that a folder keeps.

    Raises:
        ModelError: they are missing or do not fit.
    """
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
    student.eval()
    return student


def card_of(student: Student, kind: str, opener: str, tags: str, scored: str) -> str:
    """The README of a saved student.

    Args:
        student: what was saved.
        kind: "sparse" or "dense".
        opener: class of sentence-transformers that opens the folder.
        tags: of the model, separated by commas.
        scored: what of the frozen encoder its vectors are compared with.
    """
    render, sep, plain = student.settings.render, student.tokenizer.sep_token, opens_plainly(student)
    opening = f"{opener}(path)" if plain else f"{opener}(path, trust_remote_code=True)"
    order = f"newest first, answers {'in' if render.answers else 'out'}, {render.max_length} tokens"
    string = f"and when? {sep} Frank Herbert. {sep} " if render.answers else f"and when? {sep} "
    extra = (
        f"It takes conversations as one string, separated by `{sep}`; what passes {render.max_length} tokens\n"
        "falls off at the old end.\n"
        if plain
        else "It takes such strings and OpenAI-style messages. Its module lives in `distillir`, which must be\n"
        "installed; sentence-transformers asks for `trust_remote_code=True` before it imports\n"
        "a module of another package.\n"
    )
    return (
        f"---\nlibrary_name: sentence-transformers\ntags: [{tags}]\n---\n\n"
        f"# Conversational {kind} query encoder\n\nReads {order}; scores {scored} of the frozen encoder it was "
        f"distilled against by plain dot product. Encode **queries** with it, never documents.\n\n```python\n"
        f"from sentence_transformers import {opener}\n\nencoder = {opening}\n"
        f'encoder.encode(["{string}who wrote Dune?"])\n```\n\n{extra}'
    )


def _extra(student: Student) -> dict[str, Tensor]:
    """Weights besides the backbone's."""
    return {k: v.contiguous() for k, v in student.state_dict().items() if k.startswith(("gate.", "turns."))}
