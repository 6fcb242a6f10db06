"""`distillir recipe check`: every kind of recipe, what is there, what is missing, what comes later."""

import json
from pathlib import Path

import pytest
import yaml

from distillir.errors import ConfigError, DataError
from distillir.recipes import check_recipe, kind_of

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))


@pytest.fixture
def folder(animals, tmp_path):
    return animals(tmp_path)


def written(folder, **options):
    given = {"out": "run", "corpus": "corpus.jsonl", "train": "train.jsonl", "dev": "dev.jsonl"}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**given, **options}), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_of_the_repository_is_checked_without_its_model_and_data(path, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    done = check_recipe(path)
    assert done.kind == {"dgr": "generative", "g2r": "response", "twolar": "reranker"}.get(path.stem, "sparse")
    assert not done.ready
    assert all(": " in line for line in done.missing)
    assert len(RECIPES) == 10


def test_a_recipe_that_can_run(folder):
    done = check_recipe(written(folder, test="test.jsonl"))
    assert done.ready
    assert done.missing == done.later == []
    assert f"train: {folder / 'train.jsonl'}, 12 contexts, 12 with a rewrite, 12 with relevant documents" in done.found
    assert done.estimates[0].startswith("40 documents")
    assert "it can run" in done.text()
    assert json.loads(json.dumps(done.to_dict()))["ready"] is True


def test_what_is_missing_and_what_comes_later(folder):
    given = {"student": "reranker", "crops": 3, "teacher_run": "t.trec", "test": "none.jsonl"}
    done = check_recipe(written(folder, retrievers={"bm25": "bm25", "other": "other.trec"}, **given))
    assert done.missing == [f"test: {folder / 'none.jsonl'}"]
    assert [line.split(":")[0] for line in done.later] == ["teacher_run", "retrievers"]
    assert f"other: {folder / 'other.trec'}" in done.later[1]
    assert "it cannot run yet: 1 missing" in done.text()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"studnet": "dense"}, "studnet"),
        ({"student": "oracle"}, "student: 'oracle' → use dense, generative"),
        ({"method": {"draw": {"uniform": {}}}}, "uniform"),
        ({"model": "no such/model id"}, "neither a folder nor a model id"),
        ({"dev": "train.jsonl"}, "is in both train and dev"),
        ({"student": "dense", "model": "some/model", "method": {"penalties": {"l1": 1.0}}}, "penalties"),
    ],
)
def test_options_that_cannot_be_are_refused(folder, options, why):
    with pytest.raises(ConfigError, match=why):
        check_recipe(written(folder, **options))


def test_contexts_that_cannot_be_read_are_refused(folder):
    with (folder / "dev.jsonl").open("a", encoding="utf-8") as rows:
        rows.write('{"id": "x"}\n')
    with pytest.raises(DataError, match=r"dev\.jsonl:7: missing field 'messages'"):
        check_recipe(written(folder))


def test_large_files_are_looked_into_and_not_read(folder, monkeypatch):
    monkeypatch.setattr("distillir.recipes.check.WHOLE", 10)
    monkeypatch.setattr("distillir.recipes.check.SAMPLE", 20)
    done = check_recipe(written(folder))
    assert any(line.endswith("train.jsonl, about 12 contexts") for line in done.found)
    rows = int(done.estimates[0].split()[0])
    assert 36 <= rows <= 44


def test_a_recipe_names_its_kind(folder):
    assert kind_of(written(folder)).name == "sparse"
    assert kind_of(written(folder, student="dense")).asks == "search"
    assert kind_of(written(folder, student="response")).asks == "respond"
