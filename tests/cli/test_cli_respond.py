"""`distillir train` of a response recipe and `distillir respond` on forty responses."""

import json
import shlex

import pytest
import typer
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.data import read_responses

RECIPE = """
student: response
out: run
responses: corpus.jsonl
train: train.jsonl
dev: dev.jsonl
model: splade-tiny
method: pairs
max_length: 32
response_length: 16
training: {max_steps: 1, batch_size: 4}
"""


@pytest.fixture(scope="module")
def run(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("respond") / "data")
    (folder / "g2r.yaml").write_text(RECIPE, encoding="utf-8")
    result = CliRunner().invoke(app, ["train", str(folder / "g2r.yaml"), "--quiet"])
    assert result.exit_code == 0, result.output
    assert f'distillir respond {folder / "run"} "a message"' in result.stdout
    return folder / "run"


def respond(*given: object):
    return CliRunner().invoke(app, ["respond", *map(str, given)])


def test_responses_come_from_the_set_best_first(run):
    result = respond(run, "what does the otter eat", "fish", "and when does it sleep", "-k", 3, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["responses"]
    texts = {one.id: one.text for one in read_responses(run.parent / "corpus.jsonl")}
    assert [texts[row["id"]] for row in rows] == [row["text"] for row in rows]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert [row["origins"] for row in rows] == [["gold"]] * 3
    shown = respond(run, "what does the otter eat", "fish", "and when does it sleep", "-k", 3).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in shown] == [row["text"] for row in rows]


def test_no_answer_is_said(run):
    assert respond(run, "hello", "--origin", "nobody").stdout == "no answer\n"
    told = json.loads((run / "threshold.json").read_text(encoding="utf-8"))
    (run / "threshold.json").write_text(json.dumps(told | {"threshold": 1e30}), encoding="utf-8")
    try:
        assert respond(run, "hello").stdout == "no answer\n"
        assert json.loads(respond(run, "hello", "--json").stdout) == {"responses": []}
    finally:
        (run / "threshold.json").write_text(json.dumps(told), encoding="utf-8")


def test_what_is_no_run_is_refused(run, tmp_path):
    result = respond(tmp_path, "hello")
    assert result.exit_code != 0
    assert "not a finished run folder of responses" in str(result.exception)
    assert "blank" in str(respond(run, " ").exception)


def test_the_labelling_that_a_run_asks_for_is_a_command(run, tmp_path):
    """What the errors of the recipes name can be typed as it stands."""
    data = run.parent
    for student, extra, command in (
        ("response", f"responses: {data}/corpus.jsonl", "label respond"),
        ("reranker", f"corpus: {data}/corpus.jsonl", "label listwise"),
    ):
        method = "g2r" if student == "response" else "rerank"
        named = "\n".join(f"{name}: {data}/{name}.jsonl" for name in ("train", "dev"))
        text = (
            f"student: {student}\nout: {tmp_path}/{student}\n{extra}\n{named}\nmethod: {method}\nmodel: splade-tiny\n"
        )
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        said = str(CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), "--quiet"]).exception)
        line = said.split("`distillir ", 1)[1].split("`", 1)[0]
        assert line.startswith(command)
        parsed(line)


def test_the_second_labelling_is_a_command_too(run, tmp_path):
    data, out = run.parent, tmp_path / "run"
    named = "\n".join(f"{name}: {data}/{name}.jsonl" for name in ("train", "dev"))
    method = "{teacher: likelihood, objective: {kld: {shared: true}}}"
    text = f"student: response\nout: {out}\nresponses: {data}/corpus.jsonl\n{named}\nmethod: {method}\n"
    (tmp_path / "recipe.yaml").write_text(text + "model: splade-tiny\n", encoding="utf-8")
    said = str(CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), "--quiet"]).exception)
    line = said.split("`distillir ", 1)[1].split("`", 1)[0]
    assert line.startswith("label likelihood")
    parsed(line)


def parsed(line: str) -> None:
    """Parse a command line without running it."""
    group, name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[group].commands[name]
    command.make_context(name, words)
