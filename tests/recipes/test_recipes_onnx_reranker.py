"""`distillir export-onnx` of a reranker's run: the same order, by the graph."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.conversation import Conversation
from distillir.recipes.onnx_reranker import reranker_in
from distillir.rendering import RenderSettings
from distillir.search.rerank import reranker_of
from distillir.students import RerankerSettings, RerankerStudent, resolve

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

PAIRS = [
    (Conversation.from_pairs([], "what does the otter eat"), text) for text in ("fish and crabs", "a falcon is fast")
]


def test_a_reranker_is_exported_and_whatever_opens_it_runs_the_graph(tmp_path, monkeypatch):
    settings = RerankerSettings(RenderSettings(max_length=24), passage_length=24)
    student = RerankerStudent.from_pretrained(resolve("splade-tiny"), settings, seed=3)
    student.save(tmp_path / "run" / "student")
    plain = student.predict(PAIRS)
    assert reranker_in(tmp_path / "run") == reranker_in(tmp_path / "run" / "student") == tmp_path / "run" / "student"
    assert reranker_in(tmp_path) is None
    said = CliRunner().invoke(app, ["export-onnx", str(tmp_path / "run"), "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["folder"] == str(tmp_path / "run" / "student" / "graph")
    assert told["largest_gap"] <= 1e-4
    opened = reranker_of(tmp_path / "run" / "student")
    monkeypatch.setattr(RerankerStudent, "score_pairs", None)
    np.testing.assert_allclose(opened.predict(PAIRS), plain, atol=1e-4)
