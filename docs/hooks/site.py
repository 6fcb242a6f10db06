"""What the site takes from the repository when it is built: the command line's help, and sections of the README.

<!-- commands -->              every command, from the program itself
<!-- readme: Measured here --> the section of that heading
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from distillir.cli.app import app

ROOT = Path(__file__).parents[2]
COMMANDS = "<!-- commands -->"
SECTION = re.compile(r"<!-- readme: (.+) -->")
PAGES = {"PAPERS.md": "papers.md", "ARCHITECTURE.md": "architecture.md"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, reference())
    return SECTION.sub(lambda found: section(found[1]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for every page: docstrings announce code by two colons, as reStructuredText does."""
    return html.replace("::</p>", ":</p>")


def section(heading: str) -> str:
    """A section of the README, without its heading.

    Raises:
        ValueError: the README has none of that name.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    if found is None:
        raise ValueError(f"README.md has no section {heading!r}")
    return re.sub(r"\]\((\w+\.md)\)", lambda link: f"]({PAGES[link[1]]})", found[1].strip())


def reference() -> str:
    """All commands, as Markdown."""
    return "\n".join(line for name, command in commands().items() for line in _command(name, command))


def commands() -> dict[str, Any]:
    """Name → command of the program, in the order of its help; those of a group as `group command`."""

    def under(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from under(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", command

    return dict(under(typer.main.get_command(app), ""))


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    yield from (f"## distillir {name}", "", "```text")
    yield " ".join(["distillir", name, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    yield from ("```", "", command.help or "", "")
    if arguments:
        yield from ("| argument | |", "|---|---|")
        yield from (f"| `{_named(one)}` | {_cell(one.help)} |" for one in arguments)
        yield ""
    if options:
        yield from ("| option | default | |", "|---|---|---|")
        yield from (f"| {_names(one)} | {_default(one)} | {_cell(one.help)} |" for one in options)
        yield ""


def _usage(one: Any) -> str:
    return _named(one) if one.required else f"[{_named(one)}]"


def _named(one: Any) -> str:
    plain = str(one.metavar or one.name.upper()).strip("[]")
    return f"{plain}…" if one.nargs == -1 else plain


def _names(one: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))


def _default(one: Any) -> str:
    return "" if one.default in (None, False, "") or one.is_flag else f"`{one.default}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
