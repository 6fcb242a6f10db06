"""`distillir shadow` and `distillir export-onnx`, from the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest

from distillir.data import Context, read_contexts, write_contexts
from distillir.recipes import SparseRecipe, index_alone
from distillir.serving.shadow import ShadowLog, ShadowRow

ROW = ShadowRow("r", 1.0, 2, "m", "i", "llm", 0.8, 0.5, 10.0, 500.0, 9, 1, 0.002, "USD", None, ("a",), ("b",))


def test_a_report_of_a_log(call, tmp_path):
    for i in range(120):
        ShadowLog(tmp_path).write(replace(ROW, request=f"r{i}", overlap=0.7))
    code, out, _ = call("shadow", "report", tmp_path, "--worst", 1)
    assert code == 0
    assert out.startswith("May the rewriter be switched off?  yes")
    assert "490 ms saved a turn" in out
    code, out, _ = call("shadow", "report", tmp_path, "--agree", 0.9, "--json")
    assert json.loads(out)["answer"] == "not yet"
    code, _, err = call("shadow", "report", tmp_path / "nowhere")
    assert code == 1
    assert " → name the state folder of a service" in err


@pytest.fixture
def run(animals, tmp_path):
    folder = animals(tmp_path)
    index_alone(SparseRecipe(out=folder / "run", engine="exact", corpus=folder / "corpus.jsonl"), quiet=True)
    return folder / "run"


def test_a_calibration_of_a_run(call, run):
    code, _, err = call("shadow", "calibrate", run)
    assert code == 1
    assert "its recipe names no dev contexts → name a file with --contexts" in err
    split = run.parent / "train.jsonl"
    code, _, err = call("shadow", "calibrate", run, "--contexts", split, "-k", 1)
    assert code == 1
    assert "nothing to calibrate by → give at least 20 judged contexts" in err
    judged = [c for name in ("train", "dev", "test") for c in read_contexts(run.parent / f"{name}.jsonl")]
    rng = np.random.default_rng(1)  # some judgements that nothing finds, so that there is something to tell apart
    mixed = [
        c if rng.random() < 0.6 else Context(c.id, c.conversation, c.group, relevant={"tiger-young": 1}) for c in judged
    ]
    write_contexts(run.parent / "mixed.jsonl", mixed)
    code, out, err = call("shadow", "calibrate", run, "--contexts", run.parent / "mixed.jsonl", "-k", 1, "--risk", 0.4)
    assert code == 0, err
    assert "of turns are trusted" in out
    kept = json.loads((run / "confidence.json").read_text())
    assert kept["contexts"] == len(judged)
    assert 0 <= kept["coverage"] <= 1


def test_an_export_that_loses_too_much_is_refused_in_one_line(call, run, monkeypatch):
    monkeypatch.setattr("distillir.students.onnx_graph.write_onnx", lambda student, path: path.write_bytes(b"x"))
    monkeypatch.setattr("distillir.students.onnx_graph.quantise", lambda source, target: target.write_bytes(b"x"))
    code, _, err = call("export-onnx", run, "--contexts", run.parent / "dev.jsonl")
    assert code == 1
    assert "error: " in err
    assert " → export the student again" in err
    assert not (run / "onnx").exists()
