"""A commented recipe for somebody's own data, after a look at it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from distillir.data import Context, read_contexts
from distillir.data.documents import read_documents
from distillir.errors import ConfigError, DataError
from distillir.recipes.yaml_file import quoted
from distillir.students.head import screen_supported

NAME = "recipe.yaml"
WHOLE_COLLECTION = 100_000  # documents up to which distillation over all of them is affordable
CORPORA = ("corpus.jsonl", "corpus.jsonl.gz", "corpus.parquet", "documents.jsonl", "docs")
STEPS, MANY_CONTEXTS = 200, 2_000
SPLITS = {
    "train": "contexts to learn from; each needs a `rewrite` by a person or a model",
    "dev": "contexts to select by; each needs `relevant` documents",
    "test": "contexts to report on, never trained or selected on; each needs `relevant` documents",
}


@dataclass(frozen=True)
class Found:
    """What was found of somebody's data.

    Attributes:
        corpus: file or folder of documents.
        documents: how many; None for a folder, whose passages are counted when it is read.
        contexts: split → file and contexts.
    """

    corpus: Path
    documents: int | None
    contexts: Mapping[str, tuple[Path, list[Context]]]


def write_recipe(
    folder: Path, corpus: Path | None = None, splits: Mapping[str, Path] | None = None, *, force: bool = False
) -> Path:
    """Write `folder/recipe.yaml` for the data that is named or lies in the folder, and return its path.

    Args:
        folder: made when it is not there.
        corpus: documents; by default `corpus.jsonl`, `corpus.parquet`, … or the folder `docs` in `folder`.
        splits: "train", "dev", "test" → file; by default NAME.jsonl in `folder`.
        force: replace a recipe that is there.

    Raises:
        ConfigError: no documents found, or a recipe is there already.
        DataError: a named file that cannot be read.
    """
    target = folder / NAME
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already", "edit it, or replace it with --force")
    found = look(folder, corpus, splits or {})
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines(found, folder)) + "\n", encoding="utf-8")
    return target


def look(folder: Path, corpus: Path | None, splits: Mapping[str, Path]) -> Found:
    """Read and count what is there."""
    corpus = corpus or next((folder / name for name in CORPORA if (folder / name).exists()), None)
    if corpus is None:
        raise ConfigError(
            f"no documents in {folder}: looked for {', '.join(CORPORA)}", "name a file or folder with --corpus"
        )
    if not corpus.exists():
        raise DataError(corpus, "no such file or folder", cure="check the path")
    count = None if corpus.is_dir() else sum(1 for _ in read_documents(corpus))
    given = {name: splits.get(name, folder / f"{name}.jsonl") for name in SPLITS}
    contexts = {name: (path, read_contexts(path)) for name, path in given.items() if name in splits or path.is_file()}
    return Found(corpus, count, contexts)


def lines(found: Found, folder: Path) -> Iterator[str]:
    """The recipe, line by line."""
    trainable = _trainable(found)
    yield "# A recipe of DistillIR. What is commented out is optional; paths are relative to this file."
    yield f"#   distillir index {NAME}      encode and index: search with the untrained turn gate, nothing is trained"
    yield f'#   distillir search {NAME} "a question"     or: distillir chat {NAME}'
    yield f"#   distillir train {NAME}      {'the whole chain' if trainable else 'once train and dev are named below'}"
    yield ""
    yield _option("out", "run", "run folder: every stage keeps its result here and goes on from there")
    size = "passages of Markdown, text, HTML, PDF, …" if found.documents is None else f"{found.documents:,} documents"
    yield _option("corpus", _relative(found.corpus, folder), size)
    yield ""
    yield "# Conversations: JSON lines {id, messages, rewrite?, relevant?}; `distillir import-chats` reads your logs."
    for name, meaning in SPLITS.items():
        if name not in found.contexts:
            yield f"# {_option(name, f'{name}.jsonl', meaning)}"
            continue
        path, contexts = found.contexts[name]
        lacking = _lacking(name, contexts)
        line = _option(name, _relative(path, folder), lacking or _counted(contexts))
        yield f"# {line}" if lacking else line
    yield ""
    yield _option("model", "splade-tiny", "or a folder, or a model id with a masked-language-model head")
    small = found.documents is not None and found.documents <= WHOLE_COLLECTION
    why = f"distils over all documents: fine up to some {WHOLE_COLLECTION:,}" if small else "from drawn candidates"
    yield _option("method", "collection" if small else "student", f"{why}; others: collection, student, disco, mse")
    yield _option("engine", "qdrant_edge", "on disk, filters, add and delete; or exact, seismic, a cluster")
    screen = screen_supported()
    yield _option("screen", str(screen).lower(), "faster where the processor has bfloat16; same results")
    yield "# max_length: 256         # tokens of a conversation; the newest question is kept whole as far as it fits"
    yield "# document_length: 256    # tokens of a document"
    yield "# answers: false          # leave the assistant's turns out"
    yield ""
    yield "training:"
    epochs, batch = _pace(found)
    yield f"{f'  epochs: {epochs}':<23} # the best state on dev is kept"
    yield f"  batch_size: {batch}"
    yield "  lr: 1.0e-4"
    yield "  lr_scale: {gate.: 10}   # the gate's few parameters move faster"
    yield "  evaluate_every: 40      # steps between two looks at dev"
    yield "  patience: 4             # dev figures without a better one before training stops"
    yield "  seed: 13"


def _pace(found: Found) -> tuple[int, int]:
    """Epochs and batch size for some two hundred steps: fewer change little, and on dev the best state comes early."""
    contexts = len(found.contexts["train"][1]) if "train" in found.contexts else 0
    batch = 32 if contexts >= MANY_CONTEXTS else 16
    return min(20, max(2, math.ceil(STEPS * batch / max(1, contexts)))), batch


def _trainable(found: Found) -> bool:
    return all(name in found.contexts and not _lacking(name, found.contexts[name][1]) for name in ("train", "dev"))


def _lacking(name: str, contexts: list[Context]) -> str:
    """Why a split cannot serve yet; "" when it can."""
    if name == "train" and not any(c.rewrites for c in contexts):
        return f"{len(contexts):,} contexts, none with a `rewrite`: label them first"
    if name != "train" and not any(c.relevant for c in contexts):
        return f"{len(contexts):,} contexts, none with `relevant` documents: judge some first"
    return ""


def _counted(contexts: list[Context]) -> str:
    rewritten = sum(bool(c.rewrites) for c in contexts)
    judged = sum(bool(c.relevant) for c in contexts)
    conversations = len({c.group for c in contexts})
    return (
        f"{len(contexts):,} contexts of {conversations:,} conversations, {rewritten:,} with a rewrite, "
        f"{judged:,} with relevant documents"
    )


def _option(name: str, value: str, comment: str) -> str:
    return f"{f'{name}: {quoted(value)}':<23} # {comment}"


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
