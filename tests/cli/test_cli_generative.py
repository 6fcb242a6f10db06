"""A generative recipe from the command line: trained, searched, chatted with."""

import json

from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.recipes import open_any


def test_a_run_is_trained_searched_and_chatted_with(animals, tiny_writer, tmp_path):
    folder = animals(tmp_path / "data")
    (folder / "recipe.yaml").write_text(
        f"student: generative\nout: made\ncorpus: corpus.jsonl\ntrain: train.jsonl\nmodel: {tiny_writer}\n"
        "max_length: 32\nbeams: 3\nsmoothing: 0.1\nmethod: learn\ntraining: {max_steps: 4, lr: 0.01}\n",
        encoding="utf-8",
    )
    made = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), "--quiet"])
    assert made.exit_code == 0, made.output
    assert "next      distillir search" in made.output
    asked = CliRunner().invoke(app, ["search", str(folder / "recipe.yaml"), "where does the tiger live", "-k", "2"])
    assert asked.exit_code == 0, asked.output
    assert len([line for line in asked.output.splitlines() if line.strip()[:2] in ("1.", "2.")]) == 2
    with open_any(folder / "made") as retriever:
        (hits,) = retriever.retrieve_batch([[{"role": "user", "content": "where does the tiger live"}]], 2)
    assert hits[0].terms[0][0] in asked.output
    chatted = CliRunner().invoke(app, ["chat", str(folder / "made")], input="where does the tiger live\n/quit\n")
    assert chatted.exit_code == 0, chatted.output
    assert "40 documents" in chatted.output
    assert "assistant:" in chatted.output
    told = CliRunner().invoke(
        app, ["identifiers", str(folder / "made"), str(folder / "corpus.jsonl"), str(folder / "o")]
    )
    assert told.exit_code == 0, told.output
    assert "40 passages" in told.output
    absent = CliRunner().invoke(
        app, ["identifiers", str(folder / "absent"), str(folder / "corpus.jsonl"), str(folder / "p")]
    )
    assert absent.exit_code != 0
    assert json.loads((folder / "made" / "generative.json").read_text())["beams"] == 3
