"""`distillir export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, interruptible, quiet_loading


def export(
    run: Annotated[Path, typer.Argument(help="Run folder or recipe file.", metavar="RUN|RECIPE")],
    out: Annotated[Path, typer.Argument(help="File to write, gzipped if it ends in .gz; a folder with --max-bytes.")],
    engine: Annotated[str, typer.Option(help="opensearch or elasticsearch.")],
    form: Annotated[str | None, typer.Option(help="How you will ask, by default the engine's first form.")] = None,
    by_dimension: Annotated[bool, typer.Option("--by-dimension", help="Name terms by number.")] = False,
    field: Annotated[str, typer.Option(help="Where the vectors go.")] = "vector",
    top: Annotated[int | None, typer.Option(min=1, help="Keep this many terms of a document.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Keep weights of at least this share of the largest.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Metadata to send along, NAME or NAME:TYPE; may be repeated.")
    ] = None,
    index: Annotated[str | None, typer.Option(help="Index to name in every row; else post to /INDEX/_bulk.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="Also write the body that creates the index.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Split into files of this size before compression.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's documents and vectors as the bulk file of a search engine."""
    with interruptible("nothing was written"):
        from distillir.cli.query import vectors_of
        from distillir.data.files import replacing
        from distillir.engines import bulk_rows, dimension_names, engine_named, prune_rows, write_bulk
        from distillir.engines.pruning import check_limits
        from distillir.recipes import open_retriever
        from distillir.recipes.progress import Stages
        from distillir.vectors import SparseVectors

        chosen = engine_named(engine)
        how = chosen.form_named(form)
        check_limits(top, ratio)
        fields = {name: kind or "keyword" for name, _, kind in (spec.partition(":") for spec in keep or [])}
        body = chosen.mapping(field=field, form=how.name, fields=fields)
        quiet_loading()
        with open_retriever(run) as retriever, Stages(quiet=quiet) as stages:
            vectors = SparseVectors.open(vectors_of(retriever))
            rows = bulk_rows(
                vectors,
                dimension_names if by_dimension or how.by_dimension else retriever.encoder.terms,
                corpus=retriever.corpus,
                field=field,
                index=index,
                fields=list(fields),
                prune=None if top is None and ratio is None else lambda block: prune_rows(block, top, ratio),
            )
            written = write_bulk(out, rows, max_bytes=max_bytes, total=len(vectors), watch=stages.bar("export"))
        if mapping is not None:
            with replacing(mapping) as temporary:
                temporary.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    if as_json:
        told = {"files": [str(file) for file in written.files], "documents": written.documents}
        told |= {"empty": written.empty, "terms": written.terms, "bytes": written.bytes, "form": how.name}
        typer.echo(json.dumps(told))
        return
    files = str(out) if max_bytes is None else f"{len(written.files):,} files in {out}"
    typer.echo(f"documents {written.documents:,} ({written.bytes:,} bytes) in {files}")
    if written.empty:
        typer.echo(f"          {written.empty:,} of them without a term: no query finds them")
    if mapping is not None:
        typer.echo(f"mapping   {mapping}")
    typer.echo(f"for       {how.versions}; ask with --engine {engine} --form {how.name}")
