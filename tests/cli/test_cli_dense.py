"""A dense recipe from the command line: trained, searched, and refused where a stage has no meaning."""

import json

import pytest
import yaml


@pytest.fixture(scope="module")
def trained(animals, tmp_path_factory):
    from distillir.recipes import read_dense_recipe, run_dense

    folder = animals(tmp_path_factory.mktemp("dense"))
    options = {name: f"{name}.jsonl" for name in ("corpus", "train", "dev")}
    options |= {"student": "dense", "out": "run", "training": {"epochs": 1, "max_steps": 1, "batch_size": 4}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    run_dense(read_dense_recipe(path), quiet=True)
    return path


def test_train_takes_dense_recipes_and_reuses_what_is_there(call, trained):
    code, out, err = call("train", trained)
    assert code == 0, err
    assert "reused" in err
    assert out.splitlines()[-1] == f'next      distillir search {trained.parent / "run"} "a question"'


@pytest.mark.parametrize("source", ["recipe.yaml", "run"])
def test_search_opens_a_dense_run(call, trained, source):
    code, out, err = call("search", trained.parent / source, "what does the otter eat", "--json")
    assert code == 0, err
    (best, *_) = json.loads(out)["hits"]
    assert best["title"] == "otter"
    assert best["terms"] == []


def test_stages_of_sparse_recipes_are_refused_in_one_line(call, trained):
    code, _, err = call("index", trained)
    assert code == 1
    assert f"a dense recipe, which has no such stage by itself → run `distillir train {trained}`" in err


def test_terms_of_a_dense_run_are_refused(call, trained):
    code, _, err = call("query-terms", trained.parent / "run", "what does the otter eat")
    assert code == 1
    assert "a dense run → open it with open_dense_retriever or open_any" in err
