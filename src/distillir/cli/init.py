"""`distillir init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import interruptible

Given = Annotated[Path | None, typer.Option(help="Conversations file; by default NAME.jsonl in DIR, if it is there.")]


def init(
    folder: Annotated[Path, typer.Argument(help="Where the recipe goes.", metavar="DIR")],
    corpus: Annotated[
        Path | None, typer.Option(help="Documents: JSONL, BEIR, Parquet, or a folder of Markdown, text, HTML and PDF.")
    ] = None,
    train: Given = None,
    dev: Given = None,
    test: Given = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe that is there.")] = False,
) -> None:
    """Look at your data and write a commented recipe for it."""
    with interruptible("nothing was written"):
        from distillir.recipes import write_recipe

        splits = {name: path for name, path in (("train", train), ("dev", dev), ("test", test)) if path is not None}
        path = write_recipe(folder, corpus, splits, force=force)
    typer.echo(f"{path}\nnext:     distillir index {path}")
