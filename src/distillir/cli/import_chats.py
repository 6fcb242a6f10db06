"""`distillir import-chats`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distillir.cli.common import Json, interruptible


def import_chats(
    logs: Annotated[list[Path], typer.Argument(help="Chat logs: JSON, JSONL, CSV or TSV, plain or gzipped.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Conversations file (chats.jsonl); with --split, the folder (chats)."),
    ] = None,
    format: Annotated[
        str, typer.Option(help="openai, sharegpt, chatgpt, langchain, table; auto looks at the content.")
    ] = "auto",
    gap: Annotated[str, typer.Option(help="Silence that ends a session, such as 45m; none = never.")] = "30m",
    turns: Annotated[str, typer.Option(help="Questions to keep: all, last, follow-ups.")] = "all",
    split: Annotated[str, typer.Option(help="Shares of train, dev and test, such as 0.8,0.1,0.1.")] = "",
    seed: Annotated[int, typer.Option(help="Of the split.")] = 13,
    mask: Annotated[bool, typer.Option("--mask", help="Replace personal data by placeholders.")] = False,
    mask_kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind (email, phone, …, url); may be repeated; implies --mask.")
    ] = None,
    phone_region: Annotated[
        list[str] | None, typer.Option(help="Country of national phone numbers, such as DE; may be repeated.")
    ] = None,
    names_model: Annotated[str, typer.Option(help="spaCy pipeline that finds names of people; implies --mask.")] = "",
    session_column: Annotated[str, typer.Option(help="Column of a table, when its name is not guessed.")] = "",
    role_column: Annotated[str, typer.Option(help="The same.")] = "",
    time_column: Annotated[str, typer.Option(help="The same; none = read no times.")] = "",
    text_column: Annotated[str, typer.Option(help="The same.")] = "",
    user_role: Annotated[
        list[str] | None, typer.Option(help="A word for the user beside the usual ones; may be repeated.")
    ] = None,
    assistant_role: Annotated[list[str] | None, typer.Option(help="The same for the assistant.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A bad row ends the import.")] = False,
    as_json: Json = False,
) -> None:
    """Turn chat logs into a conversations file, with a report of what was read and left out. Loads no model."""
    with interruptible("nothing was written"):
        from distillir.data import chats

        masked = mask or bool(mask_kind) or bool(names_model)
        report = chats.import_chats(
            logs,
            out or Path("chats" if split else "chats.jsonl"),
            chats.ImportOptions(
                format=format,
                columns=chats.Columns(session_column, role_column, time_column, text_column),
                roles=chats.Roles(_words(user_role), _words(assistant_role)),
                gap=chats.parse_gap(gap),
                turns=chats.check_turns(turns),
                split=chats.parse_split(split) if split else None,
                seed=seed,
                masker=chats.Masker(mask_kind or chats.KINDS, phone_region or chats.REGIONS, names_model)
                if masked
                else None,
                strict=strict,
            ),
        )
        typer.echo(report.to_json() if as_json else report.text())


def _words(given: list[str] | None) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in given or ())
