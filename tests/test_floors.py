"""Imports go down the floors of the house, or stay inside one room."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import distillir

SOURCE = Path(distillir.__file__).parent

FLOORS = {
    "errors": 0,
    "closing": 0,
    "conversation": 1,
    "rendering": 1,
    "vectors": 1,
    "data": 2,
    "objectives": 2,
    "sparsity": 2,
    "labels": 3,
    "sampling": 3,
    "students": 4,
    "teachers": 4,
    "encoding": 5,
    "training": 5,
    "index": 5,
    "engines": 5,
    "search": 6,
    "evaluation": 6,
    "recipes": 7,
    "quickstart": 8,
    "doctor": 8,
    "serving": 9,
    "adapters": 9,
    "cli": 10,
}
FACADE = "distillir"  # the package's own __init__: names on the front door, which nothing inside goes through
ONE_ROOM = {("rendering", "conversation")}  # two files of one room: a conversation and how it is laid out


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return FACADE if first == "__init__" else first


def room_named(dotted: str) -> str | None:
    """The room a dotted name lies in, None outside distillir."""
    parts = dotted.split(".")
    if parts[0] != "distillir":
        return None
    return parts[1] if len(parts) > 1 else FACADE


def named(node: ast.AST, package: str) -> list[str]:
    """Dotted names of the modules that a node of the tree imports, or spells in a string."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")
            base = ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])
        if base != "distillir":
            return [base]
        # `from distillir import data` names a room; the version is set before anything else is imported.
        names = [alias.name for alias in node.names if alias.name != "__version__"]
        return [f"distillir.{name}" if name in FLOORS else FACADE for name in names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # Lazy imports name their module in a string; "distillir.json" is a file.
        match = re.fullmatch(r"distillir\.(\w+)[\w.]*", node.value)
        return [node.value] if match and match[1] in FLOORS else []
    return []


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, room) of every import, wherever it stands, and of every module named in a string."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        yield from ((node.lineno, room) for name in named(node, package) if (room := room_named(name)))


def offences(source: str, room: str, module: str, is_package: bool = False) -> list[str]:
    if room == FACADE:
        return []
    found = []
    for line, other in imported(ast.parse(source), module, is_package):
        down = other in FLOORS and FLOORS[other] < FLOORS[room]
        if other != room and not down and (room, other) not in ONE_ROOM:
            found.append(
                f"{module}:{line} ({room}, floor {FLOORS[room]}) imports {other} (floor {FLOORS.get(other, '?')})"
            )
    return found


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in modules()} - {FACADE}
    assert rooms <= set(FLOORS), "a new room: give it a floor in this table and in ARCHITECTURE.md"
    assert {"errors", "vectors", "sampling"} <= rooms


def test_imports_go_down():
    found = []
    for path in modules():
        parts = ["distillir", *path.relative_to(SOURCE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        found += offences(path.read_text(encoding="utf-8"), room_of(path), module, is_package)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import distillir.training",
        "from distillir.training.loop import train",
        "from distillir import training",
        "from distillir import Retriever",
        "from distillir.data import Corpus",  # the same floor, another room
        "def f():\n    from distillir.students import SparseStudent",
        "if TYPE_CHECKING:\n    import distillir.cli as c",
        "from ..training import loop",
        "from .. import training",
        "load('distillir.training')",
        "from distillir.nowhere import x",
    ],
)
def test_the_check_finds(source):
    assert len(offences(source, "objectives", "distillir.objectives.kld")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "from distillir.errors import ObjectiveError",
        "from distillir.vectors import SparseVectors",
        "from distillir.objectives.contract import Output",
        "from .contract import Output",
        "from . import contract",
        "from distillir import __version__",
        "'see distillir.training for the loop'",
        "'distillir.json'",
    ],
)
def test_the_check_allows(source):
    assert offences(source, "objectives", "distillir.objectives.kld") == []


def test_relative_imports_of_a_package_file_start_at_the_package():
    assert offences("from .contract import Output", "objectives", "distillir.objectives", is_package=True) == []
    assert offences("from ..data import Corpus", "objectives", "distillir.objectives", is_package=True)
