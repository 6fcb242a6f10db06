"""Gradient checkpointing for every student: layers are computed again, and the training is the same."""

import pytest
import torch
import yaml
from transformers import PreTrainedModel

from distillir.data import read_contexts, read_documents, write_run
from distillir.errors import ConfigError
from distillir.recipes import kind_of
from distillir.training.recompute import set_checkpointing

COMMON = {"corpus": "corpus.jsonl", "train": "train.jsonl", "dev": "dev.jsonl", "max_length": 32}
RERANKER = {
    **COMMON, "student": "reranker", "teacher_run": "teacher.trec", "passage_length": 24, "chunk_tokens": 256,
    "method": {"depth": 4, "stages": [{"objective": {"ranknet": {}}}]},
}  # fmt: skip
RECIPES = {
    "sparse": {**COMMON, "engine": "exact", "method": "disco"},
    "dense": {**COMMON, "student": "dense", "model": "splade-tiny", "method": {"draw": {"top": {"n": 4}}}},
    "reranker": {**RERANKER, "model": "splade-tiny"},
    "language reranker": {**RERANKER, "model": "WRITER", "score": "token", "words": ["eats", "sleeps"]},
    "response": {
        **{name: value for name, value in COMMON.items() if name != "corpus"}, "student": "response",
        "responses": "corpus.jsonl", "method": "pairs", "response_length": 16, "model": "splade-tiny",
    },
    "generative": {**COMMON, "student": "generative", "model": "WRITER", "beams": 3, "method": "learn"},
}  # fmt: skip


@pytest.fixture(scope="module")
def material(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("recompute") / "data")
    names = [document.id for _, document in read_documents(folder / "corpus.jsonl")]
    contexts = read_contexts(folder / "train.jsonl")
    write_run(folder / "teacher.trec", {c.id: {n: float(-i) for i, n in enumerate(names[:8])} for c in contexts})
    return folder


@pytest.fixture
def computed(monkeypatch):
    """Linear maps that are computed on the way back: for the second time."""
    counts = {"run": 0}
    run = torch.nn.Linear.forward

    def counted(self, states):
        counts["run"] += torch._C._current_graph_task_id() >= 0  # inside backward
        return run(self, states)

    monkeypatch.setattr(torch.nn.Linear, "forward", counted)
    return counts


@pytest.mark.parametrize(
    "kind",
    [name if name in ("sparse", "generative") else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES],
)
def test_layers_are_computed_again_and_the_student_is_the_same(material, tiny_writer, computed, kind):
    made = {}
    for wanted in (False, True):
        options = {**RECIPES[kind], "out": f"{kind.replace(' ', '-')}-{wanted}"}
        options["training"] = {
            "max_steps": 2, "epochs": 9, "batch_size": 4, "lr": 1e-4, "evaluate_every": 2,
            "gradient_checkpointing": wanted,
        }  # fmt: skip
        if options.get("model") == "WRITER":
            options["model"] = str(tiny_writer)
        path = material / "recipe.yaml"
        path.write_text(yaml.safe_dump(options), encoding="utf-8")
        computed.update(run=0)
        chosen = kind_of(path)
        student = chosen.run(chosen.read(path), quiet=True).student
        made[wanted] = student.state_dict(), computed["run"]
        assert not any(m.is_activation_checkpointing for m in student.modules() if isinstance(m, PreTrainedModel))
    (plain, once), (same, twice) = made[False], made[True]
    assert twice > once
    for name, tensor in plain.items():
        torch.testing.assert_close(same[name], tensor, atol=2e-5, rtol=1e-4)


def test_a_student_without_such_layers_is_refused():
    with pytest.raises(ConfigError, match="cannot recompute"):
        set_checkpointing(torch.nn.Linear(2, 2), True)
    set_checkpointing(torch.nn.Linear(2, 2), False)
