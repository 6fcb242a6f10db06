"""Quickstart: chat with Python's standard library.

The corpus is the documentation strings of the running interpreter, the conversations come with the
package, the weights with a pinned package of 18 MB. Everything is real; nothing else is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from distillir.conversation import Conversation
from distillir.data import HUMAN, Context, Document, write_contexts
from distillir.quickstart.chats import Split, quickstart_turns, require_entries
from distillir.quickstart.corpus import standard_library
from distillir.recipes import SparseRecipe, SparseRun, run_sparse

TRAINING = {
    "epochs": 8,
    "batch_size": 16,
    "lr": 1e-4,
    "lr_scale": {"gate.": 10.0},
    "warmup": 0.05,
    "patience": 4,
    "seed": 13,
}


def quickstart_recipe(out: Path, model: str = "splade-tiny") -> SparseRecipe:
    """Write corpus and contexts into `out` and return the recipe over them."""
    out.mkdir(parents=True, exist_ok=True)
    passages = [Document(**passage) for passage in standard_library()]
    corpus = out / "corpus.jsonl"
    rows = (json.dumps({"_id": p.id, "title": p.title, "text": p.text}, ensure_ascii=False) for p in passages)
    _write_if_new(corpus, "".join(f"{row}\n" for row in rows))
    entries = {p.id for p in passages}
    for split in get_args(Split):
        turns = quickstart_turns(split)
        require_entries(turns, entries)
        write_contexts(
            out / f"{split}.jsonl",
            [
                Context(
                    id=turn.id,
                    conversation=Conversation.from_messages(turn.messages, id=turn.id),
                    group=turn.group,
                    rewrites={HUMAN: turn.rewrite},
                    relevant=dict.fromkeys(turn.relevant, 1),
                    source="quickstart",
                )
                for turn in turns
            ],
        )
    return SparseRecipe(
        out=out,
        corpus=corpus,
        train=out / "train.jsonl",
        dev=out / "dev.jsonl",
        test=out / "test.jsonl",
        model=model,
        method="collection",
        screen=True,
        training=TRAINING,
    )


def quickstart(out: Path, model: str = "splade-tiny", *, quiet: bool = False) -> SparseRun:
    """Encode, train, index, evaluate and report.

    Args:
        out: run folder; run again, finished stages are kept.
        model: start checkpoint: packaged name, folder or model id.
    """
    return run_sparse(quickstart_recipe(out, model), quiet=quiet)


def _write_if_new(path: Path, content: str) -> None:
    """Leave an unchanged file alone, so that what was built from it stays fresh."""
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")
