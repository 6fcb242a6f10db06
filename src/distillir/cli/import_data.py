"""`distillir import-data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible


def import_data(
    name: Annotated[str, typer.Argument(help="mtrag, dstc11, chitchat, canard or qrecc.")],
    source: Annotated[Path, typer.Argument(help="Folder or file, in the layout that the data set's loader documents.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new files.")],
    domain: Annotated[str, typer.Option(help="Of mtrag: clapnq, cloud, fiqa or govt.")] = "",
    as_json: Json = False,
) -> None:
    """Write a published data set as corpus.jsonl and train, dev and test files that a recipe can name."""
    with interruptible("no file is half written"):
        from distillir.data import write_published

        written = write_published(name, source, out, domain)
    told = "\n".join(f"{out / file}: {rows:,}" for file, rows in written.items())
    typer.echo(json.dumps({"out": str(out), "rows": written}) if as_json else told)
