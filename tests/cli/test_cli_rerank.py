"""`distillir rerank` on forty documents."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from distillir.cli.app import app
from distillir.data import read_contexts, read_documents, read_run, write_run
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.rendering import RenderSettings
from distillir.students import RerankerSettings, RerankerStudent, resolve

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def material(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("rerank") / "data")
    settings = RerankerSettings(RenderSettings(max_length=48), passage_length=32)
    RerankerStudent.from_pretrained(resolve("splade-tiny"), settings).save(folder / "reranker")
    names = [document.id for _, document in read_documents(folder / "corpus.jsonl")]
    run = {c.id: {name: float(-i) for i, name in enumerate(names[:6])} for c in read_contexts(folder / "test.jsonl")}
    write_run(folder / "run.trec", run)
    return folder


def test_a_run_file_is_ordered_by_the_model(material, tmp_path):
    files = [str(material / name) for name in ("run.trec", "test.jsonl", "corpus.jsonl", "reranker")]
    given = ["rerank", *files, "--out", str(tmp_path / "out.trec"), "--depth", "4", "--json"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["queries"] == 6
    made, before = read_run(tmp_path / "out.trec"), read_run(material / "run.trec")
    student = RerankerStudent.from_pretrained(material / "reranker")
    texts = {document.id: document.contents for _, document in read_documents(material / "corpus.jsonl")}
    for context in read_contexts(material / "test.jsonl"):
        scored = dict(list(before[context.id].items())[:4])
        expected = student.predict([(context.conversation, texts[name]) for name in scored])
        assert [made[context.id][name] for name in scored] == pytest.approx(expected.tolist(), abs=1e-4)
        assert list(made[context.id])[4:] == list(before[context.id])[4:]


def test_a_recipe_is_trained_and_its_run_folder_named(material):
    write_run(material / "teacher.trec", read_run(material / "run.trec") | _orders(material))
    (material / "recipe.yaml").write_text(
        "student: reranker\nout: made\ncorpus: corpus.jsonl\ntrain: train.jsonl\nteacher_run: teacher.trec\n"
        "model: splade-tiny\nmax_length: 32\npassage_length: 24\ntraining: {max_steps: 1, accumulate: 1}\n"
        "method: {depth: 4, stages: [{objective: {ranknet: {}}}]}\n",
        encoding="utf-8",
    )
    result = CliRunner().invoke(app, ["train", str(material / "recipe.yaml"), "--quiet", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 1
    assert RerankerStudent.from_pretrained(material / "made" / "student").settings.passage_length == 24


def test_the_small_recipe_of_twolar_asks_for_orders_and_then_trains(material):
    options = yaml.safe_load((RECIPES / "small" / "twolar.yaml").read_text(encoding="utf-8"))
    assert options["training"] == {"epochs": 2, "accumulate": 4}
    smaller = {"model": "splade-tiny", "crops": 3, "max_length": 24, "passage_length": 16, "training": {"max_steps": 1}}
    (material / "twolar.yaml").write_text(yaml.safe_dump(options | smaller), encoding="utf-8")
    first = CliRunner().invoke(app, ["train", str(material / "twolar.yaml"), "--quiet"])
    assert first.exit_code == 1
    (command,) = re.findall("`(distillir label .*?)`", str(first.exception))
    words = shlex.split(command)
    listwise = get_command(app).commands["label"].commands[words[2]]
    given = listwise.make_context("listwise", words[3:]).params
    assert given["contexts"].is_file()
    assert given["candidates"].is_file()
    assert given["depth"] == 30
    out = material / "run-twolar"
    with LabelStore(out / "labels.sqlite") as store:
        for query, scores in read_run(out / "candidates.trec").items():
            order = sorted(scores, key=scores.get)
            request = LabelRequest("listwise", "model", "v1", {"query": query}, context_id=query)
            store.put(request, Label("order", order, json.dumps(order)))
    second = CliRunner().invoke(app, ["train", str(material / "twolar.yaml"), "--quiet", "--json"])
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout)["steps"] == 1
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["data"]["queries"] == {
        "train.jsonl": 12,
        "crop": 3,
    }


def _orders(material):
    return {c.id: {"otter-food": 2.0, "otter-home": 1.0} for c in read_contexts(material / "train.jsonl")}
