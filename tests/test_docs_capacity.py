"""The page on capacity computes what it says, and every benchmark that a page names exists."""

import re
from pathlib import Path

from benchmarks.run import BENCHMARKS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "capacity.md").read_text(encoding="utf-8")


def test_the_arithmetic_is_what_its_lines_give(capsys):
    code, shown = (re.search(rf"```{name}\n(.*?)```", PAGE, flags=re.S)[1] for name in ("python", "text"))
    exec(compile(code, "capacity.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_benchmarks_that_pages_name_exist():
    named = {name for page in DOCS.glob("*.md") for name in re.findall(r"scripts/bench ([a-z_]+)", page.read_text())}
    assert "scale" in named
    assert named <= set(BENCHMARKS)
