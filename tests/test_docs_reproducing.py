"""The page on reproducing has every published figure and every data set, as the program has them."""

from pathlib import Path

from distillir.data.official import DATA_SETS
from distillir.recipes import read_published

PAGE = (Path(__file__).parents[1] / "docs" / "reproducing.md").read_text(encoding="utf-8")


def rows(heading):
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_figure_is_there_with_whether_it_was_reproduced():
    wanted = []
    for method, entry in read_published().items():
        for figure in entry.figures:
            given = figure.values.items()
            values = " · ".join(f"{name} {'–' if value is None else f'{value:.3f}'}" for name, value in given)
            done = "reproduced" if entry.reproduced else "not reproduced"
            paper = f"[{entry.arxiv}](https://arxiv.org/abs/{entry.arxiv})"
            wanted.append([f"`{method}`", paper, entry.data, figure.system, values, figure.note, done])
    assert rows("Published figures") == wanted


def test_every_data_set_is_there():
    found = {row[0].strip("`"): row for row in rows("Data sets")}
    assert list(found) == list(DATA_SETS)
    for name, one in DATA_SETS.items():
        _, what, methods, licence, offered, unverified = found[name]
        assert (what, methods, licence) == (one.what, ", ".join(one.methods), one.licence)
        assert offered.replace("<", "").replace(">", "") == one.offered
        assert unverified == (one.unverified or "–")
