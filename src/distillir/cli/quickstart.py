"""`distillir quickstart`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading
from distillir.cli.train import finish

ASKED = '"how do i read a csv file" "csv.reader yields each row as a list." "and with a header?"'


def quickstart(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("distillir-quickstart"),
    model: Annotated[str, typer.Option(help="Start: packaged name, folder or model id.")] = "splade-tiny",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Chat with Python's standard library: encode, train, index, evaluate, report."""
    with interruptible(f"finished stages are kept in {out}; the same command goes on from there"):
        from distillir.quickstart.run import quickstart as run

        quiet_loading()
        finish(run(out, model, quiet=quiet), as_json)
        if not as_json:
            typer.echo(f"\nnext:     distillir search {out} {ASKED}")
