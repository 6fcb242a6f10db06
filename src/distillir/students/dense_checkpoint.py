"""Dense students on disk: a folder that `sentence_transformers.SentenceTransformer` opens.

With gate and turn embeddings off the folder holds sentence-transformers' own modules and opens without this package.
With either on, one module of ours stands in the place of transformer, pooling and normalisation. Beside them
`distillir.json` keeps the settings and `turns.safetensors` the extra weights.
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
from distillir.students.checkpoint import FORMAT, SETTINGS_FILE, TURNS_FILE, is_student
from distillir.students.dense_backbone import load_encoder
from distillir.students.whole_folder import whole_folder

if TYPE_CHECKING:
    from distillir.students.dense import DenseSettings, DenseStudent


def save_dense_student(student: DenseStudent, folder: str | Path) -> None:
    """Write everything to a fresh folder beside and put it in place last.

    Raises:
        ModelError: the folder holds something else than a student, or the disk is full.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not is_student(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} holds something else than a saved student", "name a new or empty folder")
    with whole_folder(folder, ModelError, "a student saved there before is as it was") as fresh, backbone.quiet():
        if dense_opens_plainly(student):
            _save_plain(student, fresh)
        else:
            _save_ours(student, fresh)
        _write_card(student, fresh)


def dense_opens_plainly(student: DenseStudent) -> bool:
    """Whether sentence-transformers' own modules compute the same: neither gate nor turn embeddings, and a tokenizer
    to which spaces beside a separator mean nothing (byte-level ones read them)."""
    sep = student.tokenizer.sep_token
    ids = student.tokenizer(f"one two {sep} three", add_special_tokens=False, verbose=False)["input_ids"]
    apart = [*student.tokens.read("one two"), student.tokenizer.sep_token_id, *student.tokens.read("three")]
    return student.settings.plain and list(ids) == apart


def write_dense_files(student: DenseStudent, folder: Path) -> None:
    """Encoder, tokenizer, settings and extra weights."""
    student.model.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)
    if extra := _extra(student):
        save_file(extra, folder / TURNS_FILE)
    record = {"format": FORMAT, "student": "dense", **asdict(student.settings)}
    (folder / SETTINGS_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_dense_student(folder: str | Path) -> DenseStudent:
    """Re-open what `save_dense_student` wrote.

    Raises:
        ModelError: unreadable settings, or extra weights that are missing or do not fit.
    """
    from distillir.students.dense import DenseStudent  # it loads this module

    folder = Path(folder)
    settings = _read_settings(folder)
    student = DenseStudent(*load_encoder(folder), settings)
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


def _read_settings(folder: Path) -> DenseSettings:
    from distillir.students.dense import DenseSettings

    path = folder / SETTINGS_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT or record.pop("student") != "dense":
            raise ModelError(f"{path}: not a dense student of format {FORMAT}", "open it as what it is")
        return DenseSettings(render=RenderSettings(**record.pop("render")), **record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable settings ({error})", "save the student again") from error


def _extra(student: DenseStudent) -> dict[str, Tensor]:
    """Weights besides the encoder's."""
    return {k: v.contiguous() for k, v in student.state_dict().items() if k.startswith(("gate.", "turns."))}


def _save_plain(student: DenseStudent, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer  # seconds to import
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    write_dense_files(student, folder)
    settings = student.settings
    modules = [
        Transformer(str(folder), max_seq_length=settings.render.max_length),
        Pooling(student.dim, settings.pooling),
        *([Normalize()] if settings.normalise else []),
    ]
    prefix = settings.query_prefix
    prompts, default = ({"query": prefix}, "query") if prefix else (None, None)
    encoder = SentenceTransformer(modules=modules, device="cpu", prompts=prompts, default_prompt_name=default)
    encoder.save_pretrained(str(folder), create_model_card=False)
    student.model.save_pretrained(folder)  # what was loaded for saving may have drawn a pooler that the student lacks


def _save_ours(student: DenseStudent, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer  # seconds to import

    from distillir.students.dense_st_module import ConversationEncoder  # it loads this module

    device = next(student.parameters()).device  # the encoder made for saving would move the student
    encoder = SentenceTransformer(modules=[ConversationEncoder(student)], device=str(device))
    encoder.save_pretrained(str(folder), create_model_card=False)


def _write_card(student: DenseStudent, folder: Path) -> None:
    render, sep = student.settings.render, student.tokenizer.sep_token
    plain = dense_opens_plainly(student)
    opening = "SentenceTransformer(path)" if plain else "SentenceTransformer(path, trust_remote_code=True)"
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
    (folder / "README.md").write_text(
        f"---\nlibrary_name: sentence-transformers\ntags: [sentence-similarity, conversational-search]\n---\n\n"
        f"# Conversational dense query encoder\n\nReads {order}; scores stored vectors of the frozen encoder it was "
        f"distilled against by plain dot product. Encode **queries** with it, never documents.\n\n```python\n"
        f"from sentence_transformers import SentenceTransformer\n\nencoder = {opening}\n"
        f'encoder.encode(["{string}who wrote Dune?"])\n```\n\n{extra}',
        encoding="utf-8",
    )
