"""`distillir identifiers`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible, quiet_loading


def identifiers(
    student: Annotated[Path, typer.Argument(help="Folder of a generative student, or its run.", metavar="STUDENT|RUN")],
    corpus: Annotated[Path, typer.Argument(help="Documents: JSON lines or Parquet.", metavar="CORPUS")],
    out: Annotated[Path, typer.Argument(help="Folder to make.", metavar="OUT")],
    as_json: Json = False,
) -> None:
    """Make a corpus searchable for a trained generative student; nothing is trained."""
    with interruptible("the same command makes OUT searchable"):
        from distillir.recipes import index_for

        quiet_loading()
        begun = time.perf_counter()
        index = index_for(student, corpus, out)
        seconds = time.perf_counter() - begun
    if as_json:
        told = {"out": str(out), "passages": index.passages, "tokens": index.tokens, "bytes": index.nbytes}
        told["views"] = list(index.views)
        typer.echo(json.dumps({**told, "seconds": round(seconds, 3)}))
        return
    size = f"{index.tokens:,} tokens, {index.nbytes / 2**20:,.1f} MiB"
    typer.echo(f"{index.passages:,} passages, {size} of {', '.join(index.views)} in {seconds:.1f} s")
    typer.echo(f'next      distillir search {out} "a question"')
