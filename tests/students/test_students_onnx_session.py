import sys

import pytest

from distillir.errors import MissingDependencyError, ModelError
from distillir.students.onnx_session import first_line, onnxruntime, open_session


def test_a_damaged_graph_names_the_file_and_the_cure(tmp_path):
    pytest.importorskip("onnxruntime")
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"model\.onnx.*make it again"):
        open_session(graph, "make it again", threads=2)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"onnxruntime"):
        onnxruntime()


def test_the_first_line_of_an_error():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
