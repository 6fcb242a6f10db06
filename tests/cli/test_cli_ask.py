"""`distillir ask`: the user's own documents from the command line."""

import json

import pytest
import typer
from typer.testing import CliRunner

from distillir.cli.ask import ask
from distillir.errors import DataError


@pytest.fixture
def call():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(ask)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "otter.md").write_text(
        "# Otter\n\n## Food\n\nThe otter eats fish\nand crabs.\n\n## Home\n\nIt lives in rivers.\n"
    )
    (folder / "falcon.txt").write_text("The falcon is the fastest bird.")
    return folder


def test_hits_name_their_place(call, docs):
    done = call(docs, "what does the otter eat", "-k", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].endswith("Otter > Food")
    assert done.stdout.splitlines()[1].strip() == "otter.md, lines 5–6"
    assert done.stdout.splitlines()[2].strip() == "The otter eats fish and crabs."
    assert "3 passages of 2 files" in done.stderr


def test_json_and_a_kept_folder(call, docs, tmp_path):
    turns = ("what is the otter", "An animal.", "where does it live")
    done = call(docs, *turns, "--json", "--quiet", "--folder", tmp_path / "kept")
    found = json.loads(done.stdout)
    assert found["hits"][0]["id"] == "otter.md#2"
    assert found["hits"][0]["place"] == "otter.md, line 10"
    assert (found["encoded"], found["reused"], found["reading"]["files"]) == (3, 0, {"markdown": 1, "text": 1})
    assert done.stderr == ""
    again = json.loads(call(docs, *turns, "--json", "--quiet", "--folder", tmp_path / "kept").stdout)
    assert (again["encoded"], again["reused"]) == (0, 3)
    assert again["hits"] == found["hits"]


def test_errors_reach_the_command_line_as_they_are(call, tmp_path):
    done = call(tmp_path / "none", "question")
    assert isinstance(done.exception, DataError)
    assert "no such file or folder" in str(done.exception)
