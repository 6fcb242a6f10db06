"""Sheets are blind and swapped; what judges said is counted for the right system."""

import csv
import json

import pytest
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.errors import EvaluationError
from distillir.evaluation.judge import read_sheets, sign_test, write_sheet

PAIRS = {f"c{i}": (f"user: {i}", f"one says {i}", f"two says {i}") for i in range(20)}
SYSTEMS = ("one", "two")


def rows(path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill(path, out, verdict) -> None:
    """A judge's sheet; `verdict` is a function of a row."""
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["item", "conversation", "A", "B", "verdict"])
        writer.writeheader()
        writer.writerows(row | {"verdict": verdict(row)} for row in rows(path))


def one_wins(row) -> str:
    return "A" if row["A"].startswith("one") else "b "


@pytest.fixture
def sheet(tmp_path):
    assert write_sheet(tmp_path / "s.csv", tmp_path / "k.json", PAIRS, SYSTEMS, twice=0.5, seed=3) == 30
    return tmp_path / "s.csv", tmp_path / "k.json"


def test_a_sheet_tells_no_system_and_swaps_what_it_repeats(sheet):
    path, key = sheet
    found = rows(path)
    assert set(found[0]) == {"item", "conversation", "A", "B", "verdict"}
    assert len({row["conversation"] for row in found[:20]}) == 20
    under_a = [row["A"].split()[0] for row in found]
    assert 4 <= under_a[:20].count("one") <= 16
    first = {row["conversation"]: (row["A"], row["B"]) for row in found[:20]}
    assert all(first[row["conversation"]] == (row["B"], row["A"]) for row in found[20:])
    told = json.loads(key.read_text(encoding="utf-8"))["items"]
    assert [told[row["item"]]["A"] for row in found] == under_a


def test_verdicts_count_for_the_system_behind_the_side(sheet, tmp_path):
    path, key = sheet
    fill(path, tmp_path / "a.csv", one_wins)
    made = read_sheets([tmp_path / "a.csv"], key)
    assert (made.wins, made.ties, made.blank, made.consistent) == ({"one": 20, "two": 0}, 0, 0, 1.0)
    assert made.p == pytest.approx(2 / 2**20)
    assert (made.agreement, made.kappa) == (None, None)
    fill(path, tmp_path / "b.csv", lambda row: "A")
    biased = read_sheets([tmp_path / "b.csv"], key)
    assert (biased.side_a, biased.consistent) == (1.0, 0.0)


def test_agreement_and_kappa_by_hand(tmp_path):
    path, key = tmp_path / "s.csv", tmp_path / "k.json"
    write_sheet(path, key, dict(list(PAIRS.items())[:4]), SYSTEMS, twice=0.0)
    order = {row["item"]: i for i, row in enumerate(rows(path))}
    other = {"one": "two", "two": "one"}

    def says(winners):
        def verdict(row):
            wanted = winners[order[row["item"]]]
            return wanted if wanted in ("tie", "") else "A" if row["A"].startswith(wanted) else "B"

        return verdict

    fill(path, tmp_path / "a.csv", says(["one", "one", "two", "tie"]))
    fill(path, tmp_path / "b.csv", says(["one", "two", "two", "tie"]))
    made = read_sheets([tmp_path / "a.csv", tmp_path / "b.csv"], key)
    # they agree on three of four; by chance 2/4·1/4 + 1/4·2/4 + 1/4·1/4 = 5/16
    assert made.agreement == 0.75
    assert made.kappa == pytest.approx((3 / 4 - 5 / 16) / (1 - 5 / 16))
    assert (made.wins, made.ties) == ({"one": 3, "two": 3}, 2)
    fill(path, tmp_path / "c.csv", says(["", "", "one", other["one"]]))
    assert read_sheets([tmp_path / "c.csv"], key).blank == 2


def test_the_sign_test_by_hand():
    assert sign_test(5, 5) == 1.0
    assert sign_test(0, 0) == 1.0
    assert sign_test(3, 0) == 2 / 8
    assert sign_test(1, 4) == pytest.approx(2 * (1 + 5) / 32)


def test_formulas_are_disarmed_and_equal_responses_left_out(tmp_path):
    pairs = {"a": ("user: x", "=1+1", "-2"), "b": ("user: y", "same", "same")}
    assert write_sheet(tmp_path / "s.csv", tmp_path / "k.json", pairs, SYSTEMS, twice=0.0) == 1
    assert {rows(tmp_path / "s.csv")[0][side] for side in "AB"} == {" =1+1", " -2"}
    with pytest.raises(EvaluationError, match="alike"):
        write_sheet(tmp_path / "s.csv", tmp_path / "k.json", {"b": pairs["b"]}, SYSTEMS)
    with pytest.raises(EvaluationError, match="two names"):
        write_sheet(tmp_path / "s.csv", tmp_path / "k.json", pairs, ("one", "one"))


def test_sheets_that_were_changed_are_refused(sheet, tmp_path):
    path, key = sheet
    with pytest.raises(EvaluationError, match="no sheet has a verdict"):
        read_sheets([path], key)
    fill(path, tmp_path / "a.csv", lambda row: "C")
    with pytest.raises(EvaluationError, match="'c'"):
        read_sheets([tmp_path / "a.csv"], key)
    text = path.read_text(encoding="utf-8")
    for content, why in ((text.replace("\n1,", "\n99,", 1), "'99'"), ("x,y\n1,2\n", "no sheet"), ("", "no sheet")):
        (tmp_path / "b.csv").write_text(content, encoding="utf-8")
        with pytest.raises(EvaluationError, match=why):
            read_sheets([tmp_path / "b.csv"], key)
    (tmp_path / "k2.json").write_text("[]", encoding="utf-8")
    with pytest.raises(EvaluationError, match="no key"):
        read_sheets([path], tmp_path / "k2.json")


def test_the_commands_go_from_two_runs_to_wins(tmp_path):
    responses = [{"_id": name, "text": f"{name} text"} for name in ("x", "y")]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in responses))
    asked = [{"id": f"q{i}", "messages": [{"role": "user", "content": f"hello {i}"}]} for i in range(6)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(c) + "\n" for c in asked))
    for name, best in (("x", "x"), ("y", "y")):
        (tmp_path / f"{name}.trec").write_text("".join(f"q{i} Q0 {best} 1 1.0 {name}\n" for i in range(6)))
    files = [str(tmp_path / name) for name in ("x.trec", "y.trec")]
    given = ["--contexts", str(tmp_path / "c.jsonl"), "--responses", str(tmp_path / "r.jsonl")]
    out = tmp_path / "sheet.csv"
    made = CliRunner().invoke(app, ["judge", "export", *files, *given, "--out", str(out), "-n", "4", "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["items"] == 5  # four pairs, one of them twice
    fill(out, tmp_path / "filled.csv", lambda row: "A" if row["A"].startswith("y") else "B")
    key = str(tmp_path / "sheet.key.json")
    said = CliRunner().invoke(app, ["judge", "import", str(tmp_path / "filled.csv"), "--key", key, "--json"])
    assert json.loads(said.stdout)["wins"] == {files[0]: 0, files[1]: 4}
    assert (
        "consistent" in CliRunner().invoke(app, ["judge", "import", str(tmp_path / "filled.csv"), "--key", key]).stdout
    )
