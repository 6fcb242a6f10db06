"""`distillir ask`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, Quiet, conversation_of, interruptible, quiet_loading


def ask(
    source: Annotated[Path, typer.Argument(help="Folder or file: Markdown, text, HTML, PDF, .jsonl, .parquet.")],
    turns: Annotated[list[str], typer.Argument(help="Question, answer, question, …; the last is searched for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits.")] = 5,
    model: Annotated[str | None, typer.Option(help="Packaged name, folder or model id; splade-tiny.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the index here, so that only new texts are encoded next time.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search your own documents with a conversation: no training, no labels, no language model."""
    with interruptible("passages that were encoded are kept" if folder else "nothing was changed"):
        from distillir.search.documents import open_documents

        quiet_loading()
        with open_documents(source, model, folder=folder, quiet=quiet) as retriever:
            hits = retriever.retrieve(conversation_of(turns), k)
            places = [_place(retriever.corpus[hit.id].metadata) if retriever.corpus else "" for hit in hits]
            report = retriever.report
    if as_json:
        rows = [{**asdict(hit), "place": place} for hit, place in zip(hits, places, strict=True)]
        counts = {"passages": report.passages, "encoded": report.encoded, "reused": report.reused}
        found = {"hits": rows, **counts, "reading": report.reading.as_dict()}
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    if not hits:
        typer.echo("nothing shares a term with the question")
    for rank, (hit, place) in enumerate(zip(hits, places, strict=True), 1):
        typer.echo(f"{rank:>2}. {hit.score:6.2f}  {hit.title or hit.id}\n            {place or hit.id}")
        typer.echo(f"            {' '.join(hit.text.split())[:160]}")


def _place(metadata: object) -> str:
    """Where a passage stands: file, and lines or pages."""
    if not isinstance(metadata, dict) or "source" not in metadata:
        return ""
    for unit in ("lines", "pages"):
        if unit in metadata:
            first, last = metadata[unit]
            return (
                f"{metadata['source']}, {unit} {first}–{last}"
                if first < last
                else f"{metadata['source']}, {unit[:-1]} {first}"
            )
    return str(metadata["source"])
