"""`distillir data …`: the papers' data sets, as their owners release them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from distillir.cli.common import Json, interruptible

data = typer.Typer(help="The papers' data sets: what they are, and files of them for recipes.", no_args_is_help=True)


@data.command("list")
def list_(as_json: Json = False) -> None:
    """Data sets: what each is, the methods whose papers use it, licence, where its owners offer it, files needed."""
    from distillir.data.official import DATA_SETS

    if as_json:
        typer.echo(json.dumps({name: _told(one) for name, one in DATA_SETS.items()}, ensure_ascii=False))
        return
    widest = max(map(len, DATA_SETS))
    for name, one in DATA_SETS.items():
        typer.echo(f"{name:<{widest}}  {one.what}")
        files = ", ".join(source.names[0] + _mark(source) for source in one.sources)
        told = {"methods": ", ".join(one.methods), "licence": one.licence, "offered": one.offered, "files": files}
        if one.unverified:
            told["not verified"] = one.unverified
        for what, text in told.items():
            typer.echo(f"{'':<{widest}}  {what}: {text}")


@data.command()
def prepare(
    name: Annotated[str, typer.Argument(help="Name of the data set, as `distillir data list` shows it.")],
    source: Annotated[Path, typer.Option(help="Folder of the release.")],
    out: Annotated[Path, typer.Option(help="Folder of the new files.")],
    partial: Annotated[bool, typer.Option("--partial", help="Accept a part of the release.")] = False,
    corpus: Annotated[
        bool, typer.Option("--corpus/--no-corpus", help="Write the passages too, whose files are then needed.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write a release as corpus, contexts and judgements that a recipe names; run again, it goes on."""
    with interruptible("finished files are kept; the same command goes on from there"):
        from distillir.data.official import data_set
        from distillir.data.official import prepare as write

        done = write(
            data_set(name), source, out, partial=partial, corpus=corpus, say=lambda text: typer.echo(text, err=True)
        )
    if as_json:
        typer.echo(json.dumps({"out": str(out), **asdict(done)}))
        return
    for file, rows in done.rows.items():
        groups = f" of {done.groups[file]:,} conversations" if file in done.groups else ""
        blank = f", {done.dropped[file]:,} left out (blank question)" if done.dropped.get(file) else ""
        kept = " (was there)" if file in done.reused else ""
        typer.echo(f"{out / file}: {rows:,}{groups}{blank}{kept}")
    for text in done.other:
        typer.echo(f"note: {text}", err=True)


def _mark(source: Any) -> str:
    if not source.needed:
        return " (optional)"
    return " (not with --no-corpus)" if source.corpus else ""


def _told(one: Any) -> dict[str, Any]:
    files = [{"name": s.names[0], "what": s.what, "needed": s.needed, "corpus": s.corpus} for s in one.sources]
    return {
        "what": one.what,
        "methods": list(one.methods),
        "licence": one.licence,
        "offered": one.offered,
        "files": files,
        "not_verified": one.unverified,
    }
