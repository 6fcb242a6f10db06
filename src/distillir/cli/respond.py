"""`distillir respond`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, conversation_of, interruptible, quiet_loading


def respond(
    run: Annotated[Path, typer.Argument(help="Run folder of a response recipe.", metavar="RUN")],
    turns: Annotated[list[str], typer.Argument(help="Message, answer, message, …; the last is responded to.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Responses.")] = 1,
    origin: Annotated[str, typer.Option(help="Only responses from there: gold, or the name of a teacher.")] = "",
    as_json: Json = False,
) -> None:
    """Respond to a conversation from the run's set of responses, or say that there is no answer."""
    with interruptible("nothing was changed"):
        from distillir.recipes import open_response_retriever

        quiet_loading()
        with open_response_retriever(run) as chat:
            found = chat.respond(conversation_of(turns), k, {"origins": origin} if origin else None)
    if as_json:
        rows = [{"id": one.id, "score": one.score, "text": one.text, **one.payload} for one in found]
        typer.echo(json.dumps({"responses": rows}, ensure_ascii=False))
        return
    for one in found:
        typer.echo(f"{one.score:6.3f}  {one.text}")
    if not found:
        typer.echo("no answer")
