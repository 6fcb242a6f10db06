"""`distillir search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, conversation_of, interruptible, quiet_loading


def search(
    run: Annotated[Path, typer.Argument(help="Run folder or recipe file.", metavar="RUN|RECIPE")],
    turns: Annotated[list[str], typer.Argument(help="Question, answer, question, …; the last is searched for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits.")] = 5,
    as_json: Json = False,
) -> None:
    """Search a run folder's index with a conversation; shows the terms that matched."""
    with interruptible("nothing was changed"):
        from distillir.recipes import open_any

        quiet_loading()
        with open_any(run) as retriever:
            hits = retriever.retrieve(conversation_of(turns), k)
    if as_json:
        rows = [{"id": h.id, "score": h.score, "title": h.title, "text": h.text, "terms": h.terms} for h in hits]
        typer.echo(json.dumps({"hits": rows}, ensure_ascii=False))
        return
    for rank, hit in enumerate(hits, 1):
        terms = ", ".join(f"{term} {weight:.1f}" for term, weight in hit.terms[:6])
        typer.echo(f"{rank:>2}. {hit.score:6.2f}  {hit.title or hit.id}\n            {terms}")
