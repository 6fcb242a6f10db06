"""`distillir import-chats`: options reach the import, the report is printed, errors name options."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from distillir.cli.import_chats import import_chats
from distillir.data import read_contexts
from distillir.errors import ConfigError, DataError

ROWS = """when;who;case;said
2024-05-01 10:00;kunde;7;where is my parcel 12
2024-05-01 10:01;team;7;In Leeds.
2024-05-01 10:02;kunde;7;and when does it come
2024-05-01 11:00;kunde;7;thanks, mail me at jane@example.com
"""
NAMED = ["--session-column", "case", "--role-column", "who", "--text-column", "said", "--time-column", "when"]
NAMED += ["--format", "table", "--user-role", "Kunde", "--assistant-role", "team"]


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs the command in a folder with `log.csv`; gives its standard output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(ROWS)
    app = typer.Typer()
    app.command()(import_chats)

    def run(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def questions(path):
    return {context.id: context.conversation.question for context in read_contexts(path)}


def test_the_report_is_printed_and_written(call, tmp_path):
    out = call("log.csv", *NAMED)
    assert "3 contexts" in out
    assert "1 noted: begins after a silence" in out
    assert questions("chats.jsonl") == {
        "7#1": "where is my parcel 12",
        "7#2": "and when does it come",
        "7~2#1": "thanks, mail me at jane@example.com",
    }
    printed = json.loads(call("log.csv", "--out", "new/x.jsonl", "--json", *NAMED))
    assert printed == json.loads((tmp_path / "new" / "x.report.json").read_text())
    assert printed["contexts"] == {"new/x.jsonl": 3}


def test_gap_turns_and_times(call):
    call("log.csv", *NAMED, "--gap", "2h", "--turns", "last")
    assert list(questions("chats.jsonl")) == ["7#3"]
    call("log.csv", *NAMED[:6], *NAMED[8:], "--time-column", "none", "--turns", "follow-ups")
    assert list(questions("chats.jsonl")) == ["7#2", "7#3"]


def test_a_split_is_a_folder(call, tmp_path):
    call("log.csv", *NAMED, "--split", "0,0,1", "--seed", "5")
    assert len(questions("chats/test.jsonl")) == 3
    assert (tmp_path / "chats.report.json").exists()


def test_masking(call):
    pytest.importorskip("presidio_analyzer")
    out = call("log.csv", *NAMED, "--mask-kind", "email")
    assert "masked    1 email" in out
    assert questions("chats.jsonl")["c1~2#1"] == "thanks, mail me at <EMAIL_1>"
    assert json.loads(call("log.csv", *NAMED, "--mask", "--phone-region", "GB", "--json"))["masked"] == {"email": 1}


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (["none.csv"], DataError, r"none\.csv: no such file"),
        (["log.csv"], DataError, "neither JSON nor a table.*--text-column"),
        (["log.csv", "--format", "table"], DataError, "--session-column NAME, one of: when, who, case, said"),
        (["log.csv", *NAMED[:-4]], DataError, r"no question is left.*--user-role.*'kunde'"),
        (["log.csv", *NAMED, "--gap", "soon"], ConfigError, "'soon' is no length of time"),
        (["log.csv", *NAMED, "--turns", "first"], ConfigError, "all, last, follow-ups"),
        (["log.csv", *NAMED, "--split", "0.9,0.2"], ConfigError, r"0\.8,0\.1,0\.1"),
        (["log.csv", *NAMED, "--split", "1,0,0", "--out", "x.jsonl"], ConfigError, "give a folder"),
        (["log.csv", *NAMED, "--out", "log.csv"], ConfigError, "is one of the logs"),
        (["log.csv", *NAMED, "--text-column", "Said"], ConfigError, "no column 'Said'.*said"),
        (["log.csv", *NAMED[:-4], "--user-role", "kunde", "--strict"], DataError, r"log\.csv:3: unknown role"),
        (["log.csv", "--mask-kind", "shoe"], Exception, "shoe|privacy"),
    ],
)
def test_mistakes_name_cause_and_cure(call, tmp_path, arguments, error, match):
    with pytest.raises(error, match=match) as refused:
        call(*arguments)
    assert refused.value.cure or "no such file" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


PAGE = (Path(__file__).parents[2] / "docs" / "your-logs.md").read_text(encoding="utf-8")
EXAMPLES = [line.strip() for block in re.findall(r"```json\n(.*?)```", PAGE, flags=re.S) for line in block.split("\n")]


@pytest.mark.parametrize("row", [line for line in EXAMPLES if line])
def test_each_row_shown_on_the_page_is_read(call, tmp_path, row):
    (tmp_path / "log.jsonl").write_text(row, encoding="utf-8")
    call("log.jsonl")
    assert len(questions("chats.jsonl")) == 1


def test_the_page_names_options_that_exist():
    app = typer.Typer()
    app.command()(import_chats)
    known = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert named <= known
    assert {"--mask", "--gap", "--split", "--turns", "--strict", "--json"} <= named


def test_it_loads_no_model_library(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    program = (
        "import sys\nfrom pathlib import Path\nfrom distillir.cli.import_chats import import_chats\n"
        "import_chats([Path('log.jsonl')], gap='30m', turns='all', format='auto')\n"
        "assert not {'torch', 'transformers', 'spacy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_contexts(tmp_path / "chats.jsonl")) == 1
