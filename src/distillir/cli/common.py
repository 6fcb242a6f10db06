"""What every command of the command line shares: options, endings, lazy loading."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress display.")]


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """End an interrupted command with a line that says what is left of its work."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def fail(text: str) -> None:
    """End with one line on standard error."""
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    sys.exit(1)


def quiet_loading() -> None:
    """No progress bars of libraries beside our own."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def conversation_of(turns: list[str]) -> list[dict[str, str]]:
    """Messages of a conversation given as question, answer, question, …; the last one is the user's."""
    roles = ["assistant" if (len(turns) - 1 - i) % 2 else "user" for i in range(len(turns))]
    return [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]
