"""Recipe files of the repository run whole on the animals: their own options, but for model, lengths and training.

Those of DiSCo and its follow-up run in test_cli_ablate and test_recipes_reproduction, the small one of TWOLAR in
test_cli_rerank.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from distillir.data import read_contexts, read_run, write_run
from distillir.errors import DataError, LabelError
from distillir.labels import Kind, Label, LabelRequest, LabelStore
from distillir.recipes import (
    read_generative_recipe,
    read_rerank_recipe,
    read_response_recipe,
    run_generative,
    run_rerank,
    run_response,
)
from distillir.recipes.generative_recipe import generative_preset

RECIPES = Path(__file__).parents[2] / "recipes"
LEARN = {"epochs": 4, "batch_size": 4, "lr": 1e-2, "keep_best": False, "evaluate_every": 1000}
RANK = {"max_steps": 2, "batch_size": 2, "lr": 1e-3, "evaluate_every": 1000}


def put(store: Path, teacher: str, kind: Kind, values: dict) -> None:
    store.parent.mkdir(exist_ok=True)
    with LabelStore(store) as labels:
        for name, value in values.items():
            request = LabelRequest(teacher, "model", "v1", {"context": name}, context_id=name)
            labels.put(request, Label(kind, value, json.dumps(value)))


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["paper", "small"])
def test_dgr(scale, animals, tiny_writer, tmp_path):
    folder = animals(tmp_path / "data")
    out, path = folder / "run-dgr", folder / "dgr.yaml"
    options = yaml.safe_load((RECIPES / scale / "dgr.yaml").read_text(encoding="utf-8"))
    method = generative_preset(options["method"]).model_dump(mode="json")
    method["learn"]["training"], method["rank"]["training"], method["least"] = LEARN, RANK, 1
    options |= {"model": str(tiny_writer), "method": method, "max_length": 40, "beams": 5, "smoothing": 0.5}
    options |= {"crops": 6} if "crops" in options else {}
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    if "questions" in options:
        asked = {"messages": [{"role": "user", "content": "what is known of the otter"}]}
        put(out / "labels.sqlite", f"{options['questions']}/questions", "conversation", {"otter-food": asked})
    with pytest.raises(LabelError, match=r"candidates\.trec|teacher\.trec"):
        run_generative(read_generative_recipe(path), quiet=True)
    found = read_run(out / "candidates.trec")
    if "teacher_run" in options:
        write_run(folder / options["teacher_run"], found, tag="teacher")
    else:
        put(out / "labels.sqlite", "listwise", "order", {name: sorted(scores) for name, scores in found.items()})
    run = run_generative(read_generative_recipe(path), quiet=True)
    assert list(run.comparison.systems) == ["bm25", "untrained", "learnt", "student"]


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["paper", "small"])
def test_g2r(scale, animals, tmp_path):
    folder = animals(tmp_path / "data")
    path, store = folder / "g2r.yaml", folder / "labels.sqlite"
    options = yaml.safe_load((RECIPES / scale / "g2r.yaml").read_text(encoding="utf-8"))
    if not (folder / options["responses"]).exists():
        shutil.copy(folder / "corpus.jsonl", folder / options["responses"])
    training = {"epochs": 1, "batch_size": 4, "lr": 1e-3}
    options |= {"model": "splade-tiny", "max_length": 32, "response_length": 16, "training": training}
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    with pytest.raises(LabelError, match="distillir label respond"):
        run_response(read_response_recipe(path), quiet=True)
    contexts = read_contexts(folder / "train.jsonl")
    put(store, "respond", "responses", {c.id: [{"text": f"I know of {c.id}."}] for c in contexts})
    with pytest.raises(LabelError, match="distillir label likelihood"):
        run_response(read_response_recipe(path), quiet=True)
    own = read_run(folder / "run-g2r" / "candidates.trec")
    put(store, "likelihood", "scores", {q: {name: -len(name) / 5 for name in found} for q, found in own.items()})
    run = run_response(read_response_recipe(path), quiet=True)
    assert run.comparison is not None
    assert (run.out / "student" / "model.safetensors").is_file()


@pytest.mark.slow
def test_twolar(animals, tiny_writer, tmp_path):
    folder = animals(tmp_path / "data")
    out, path = folder / "run-twolar", folder / "twolar.yaml"
    options = yaml.safe_load((RECIPES / "paper" / "twolar.yaml").read_text(encoding="utf-8"))
    # The words are of the animals' vocabulary.
    options |= {"model": str(tiny_writer), "words": ["otter", "tiger"], "crops": 4}
    options |= {"max_length": 24, "passage_length": 24, "training": {"max_steps": 1}}
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    asked = {"messages": [{"role": "user", "content": "what is known of the otter"}]}
    put(out / "labels.sqlite", "synthetic/questions", "conversation", {"otter-food": asked})
    with pytest.raises(DataError, match=r"\.trec"):
        run_rerank(read_rerank_recipe(path), quiet=True)
    names = [json.loads(line)["_id"] for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    queries = read_contexts(out / "queries.jsonl")
    assert len(queries) == 5
    for number, place in enumerate(one for one in options["retrievers"].values() if one.endswith(".trec")):
        order = names[number * 7 :] + names[: number * 7]
        write_run(folder / place, {c.id: {name: -float(i) for i, name in enumerate(order)} for c in queries})
    with pytest.raises(LabelError, match="label listwise"):
        run_rerank(read_rerank_recipe(path), quiet=True)
    found = read_run(out / "candidates.trec")
    put(out / "labels.sqlite", "listwise", "order", {name: sorted(scores) for name, scores in found.items()})
    run = run_rerank(read_rerank_recipe(path), quiet=True)
    assert run.training.steps == 1
