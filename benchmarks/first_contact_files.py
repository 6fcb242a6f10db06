"""A folder of mixed real files: what the installed packages and the standard library say of themselves.

Markdown and reStructuredText are the descriptions in packages' metadata and the files they ship; HTML and text are the
standard library's documentation as pydoc writes it; PDF is such documentation on pages that matplotlib sets. Other
machines have other packages, so the files differ; the number, the mix and their being real do not.
"""

from __future__ import annotations

import pydoc
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

SHARES = {"html": 0.26, "md": 0.24, "txt": 0.24, "pdf": 0.14, "rst": 0.12}
LARGEST = 100_000  # characters of a file; changelogs of a megabyte are no documentation
_NO_DOCUMENTATION = {
    "antigravity",
    "this",
    "idlelib",
    "turtle",
    "turtledemo",
    "tkinter",
    "test",
    "lib2to3",
    "nturl2path",
}
_LINES, _WIDTH = 62, 92  # of a PDF page


def make_folder(folder: Path, count: int) -> dict[str, int]:
    """Write `count` files and return how many of each suffix; where one kind runs out, text takes its place."""
    made: dict[str, int] = dict.fromkeys(SHARES, 0)
    descriptions = list(_descriptions())
    modules = [module for module in _modules() if len(_plain(module)) < LARGEST]
    shipped = list(_shipped())

    def write(suffix: str, name: str, text: str) -> None:
        plain = re.sub(r"[^\w.-]", "_", name)
        path = folder / suffix / f"{plain}-{made[suffix]:03d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "pdf":
            _write_pdf(path, name, text)
        else:
            path.write_text(text, encoding="utf-8")
        made[suffix] += 1

    def left(suffix: str) -> int:
        return round(count * SHARES[suffix]) - made[suffix]

    for suffix, name, text in [*descriptions, *((s, n, t) for s, n, t in shipped if s != "txt")]:
        if left(suffix) > 0:
            write(suffix, name, text)
    for module in modules:
        if left("html") > 0:
            write("html", module.__name__, _html(module))
    for module in modules:
        if left("pdf") > 0:
            write("pdf", module.__name__, _plain(module)[: _LINES * _WIDTH * 4])
    rest = [(n, t) for s, n, t in shipped if s == "txt"] + [(m.__name__, _plain(m)) for m in modules]
    for name, text in rest:
        if sum(made.values()) < count:
            write("txt", name, text)
    return made


def _descriptions() -> Iterator[tuple[str, str, str]]:
    """(suffix, name, text) of the long descriptions of installed packages."""
    for package in sorted(metadata.distributions(), key=lambda d: str(d.metadata["Name"])):
        about = package.metadata.json
        text = str(about.get("description", ""))
        kind = str(about.get("description_content_type", "text/x-rst"))
        if 200 < len(text) < LARGEST:
            yield "md" if "markdown" in kind else "rst", str(about["name"]), text


def _shipped() -> Iterator[tuple[str, str, str]]:
    """(suffix, name, text) of documentation that packages ship, licences left out: they are all alike."""
    for package in sorted(metadata.distributions(), key=lambda d: str(d.metadata["Name"])):
        for file in package.files or []:
            suffix = file.suffix.removeprefix(".")
            if suffix not in ("md", "rst", "txt") or re.search(
                r"licen|notice|copying|top_level|entry_p|vocab", str(file), re.I
            ):
                continue
            try:
                text = Path(str(file.locate())).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            written = sum(map(str.isalpha, text))
            if 300 < len(text) < LARGEST and written > len(text) / 2:  # tables of numbers are no documentation
                yield suffix, file.name.removesuffix(file.suffix), text


def _modules() -> Iterator[ModuleType]:
    for name in sorted(sys.stdlib_module_names - _NO_DOCUMENTATION):
        if name.startswith("_"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield import_module(name)
        except ImportError:  # another system's, or this interpreter was built without it
            continue


def _html(module: ModuleType) -> str:
    page = pydoc.HTMLDoc().page(f"module {module.__name__}", pydoc.HTMLDoc().document(module, module.__name__))
    return page.encode("utf-8", "replace").decode("utf-8")


def _plain(module: ModuleType) -> str:
    return pydoc.plain(pydoc.render_doc(module, "Library Documentation: %s"))


def _write_pdf(path: Path, title: str, text: str) -> None:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    kept = (c for c in text.replace("$", "S") if c == "\n" or 32 <= ord(c) < 127)  # what the page's font can draw
    lines = [cut for line in "".join(kept).split("\n") for cut in textwrap.wrap(line, _WIDTH) or [""]]
    with PdfPages(path, metadata={"Title": title}) as pages:
        for start in range(0, len(lines), _LINES):
            page = Figure(figsize=(8.3, 11.7))
            page.text(0.07, 0.95, "\n".join(lines[start : start + _LINES]), va="top", family="monospace", size=8)
            pages.savefig(page)
