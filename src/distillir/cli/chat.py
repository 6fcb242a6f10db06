"""`distillir chat`: ask, see what was found, with which terms, and which turn each term came from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillir.cli.common import interruptible, quiet_loading
from distillir.errors import ConversationError

if TYPE_CHECKING:
    from distillir.search import DenseRetriever, GenerativeRetriever, Hit, Retriever

COMMANDS = "/answer TEXT  what the assistant said    /new  another conversation    /quit"
SPOKEN = 300  # characters of the best hit that stand in for the assistant's answer
SHOWN_TERMS = 8


def chat(
    source: Annotated[Path, typer.Argument(help="Run folder or recipe file.", metavar="RUN|RECIPE")],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits a question.")] = 3,
) -> None:
    """Chat with an index in the terminal. Reads questions from standard input; no language model answers.

    The beginning of the best hit stands in for the assistant's answer and becomes part of the conversation; say
    `/answer TEXT` to put another in its place.
    """
    with interruptible("nothing was changed"):
        from distillir.recipes import open_any

        quiet_loading()
        with open_any(source) as retriever:
            typer.echo(f"{len(retriever.index):,} documents    {COMMANDS}")
            messages: list[dict[str, str]] = []
            while (line := _asked()) is not None:
                if line == "/quit":
                    break
                if line == "/new":
                    messages = []
                elif line.startswith("/answer "):
                    _answered(messages, line.removeprefix("/answer ").strip())
                elif line.startswith("/"):
                    typer.echo(f"unknown command; known are: {COMMANDS}")
                elif line:
                    messages.append({"role": "user", "content": line})
                    _show(retriever, messages, k)


def _asked() -> str | None:
    if sys.stdin.isatty():
        typer.echo("\nyou: ", nl=False)
    line = sys.stdin.readline()
    return line.strip() if line else None


def _answered(messages: list[dict[str, str]], text: str) -> None:
    if not messages:
        typer.echo("nobody has asked yet")
        return
    if messages[-1]["role"] == "assistant":
        messages.pop()
    messages.append({"role": "assistant", "content": text})


def _show(retriever: Retriever | DenseRetriever | GenerativeRetriever, messages: list[dict[str, str]], k: int) -> None:
    try:
        hits = retriever.retrieve(messages, k)
    except ConversationError as error:
        messages.pop()
        typer.echo(str(error))
        return
    for rank, hit in enumerate(hits, 1):
        typer.echo(
            f"{rank:>2}. {hit.score:6.2f}  {_line(': '.join(filter(None, (hit.title, hit.text))) or hit.id, 100)}"
        )
        typer.echo(f"            {_terms(hit)}")
    _origins(retriever, messages)
    spoken = _line(hits[0].text, SPOKEN) if hits else "I found nothing."
    typer.echo(f"assistant: {spoken}")
    messages.append({"role": "assistant", "content": spoken})


def _terms(hit: Hit) -> str:
    return ", ".join(f"{term} {weight:.1f}" for term, weight in hit.terms[:SHOWN_TERMS])


def _origins(retriever: Retriever | DenseRetriever | GenerativeRetriever, messages: list[dict[str, str]]) -> None:
    from distillir.conversation import Conversation
    from distillir.search import GenerativeRetriever
    from distillir.students import SparseStudent, by_turn, term_origins

    if isinstance(retriever, GenerativeRetriever) or not isinstance(retriever.encoder, SparseStudent):
        return
    turns = by_turn(term_origins(retriever.encoder, Conversation.from_messages(messages)))
    typer.echo("query terms by the turn they came from:")
    for (back, role), origins in turns.items():
        where = "this question" if back == 0 else f"{back} back, {'question' if role == 'user' else 'answer'}"
        shown = ", ".join(f"{o.term} {o.weight:.1f}" for o in origins[:SHOWN_TERMS])
        more = f", and {len(origins) - SHOWN_TERMS} more" if len(origins) > SHOWN_TERMS else ""
        typer.echo(f"  {where:<17} {shown}{more}")


def _line(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"
