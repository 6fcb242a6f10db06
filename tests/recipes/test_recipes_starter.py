import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillir.errors import ConfigError, DataError
from distillir.recipes import read_recipe, write_recipe
from distillir.recipes.yaml_file import quoted, read_yaml


def test_the_recipe_names_what_lies_in_the_folder_and_reads_back(animals, tmp_path):
    folder = animals(tmp_path)
    path = write_recipe(folder)
    text = path.read_text(encoding="utf-8")
    assert "corpus: corpus.jsonl    # 40 documents" in text
    assert "12 contexts of 4 conversations, 12 with a rewrite, 12 with relevant documents" in text
    recipe = read_recipe(path)
    assert (recipe.corpus, recipe.train) == (folder / "corpus.jsonl", folder / "train.jsonl")
    assert recipe.method == "collection"
    assert recipe.train_settings().epochs == 20  # 12 contexts


def test_documents_alone_are_enough_and_the_rest_is_commented_out(animals, tmp_path):
    data, folder = animals(tmp_path / "data"), tmp_path / "new"
    recipe = read_recipe(write_recipe(folder, data / "corpus.jsonl"))
    assert recipe.corpus.resolve() == (data / "corpus.jsonl").resolve()
    assert recipe.splits() == {}
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "\n# train: train.jsonl" in text
    assert "once train and dev are named below" in text


def test_contexts_that_cannot_serve_yet_are_commented_out_with_the_reason(animals, tmp_path):
    folder = animals(tmp_path)
    for name, lost in (("train", "rewrite"), ("dev", "relevant")):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in rows:
            del row[lost]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = read_recipe(write_recipe(folder))
    assert list(recipe.splits()) == ["test"]
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "12 contexts, none with a `rewrite`: label them first" in text
    assert "6 contexts, none with `relevant` documents: judge some first" in text


def test_a_folder_of_files_is_a_corpus_whose_size_is_not_known(tmp_path):
    (tmp_path / "docs").mkdir()
    recipe = read_recipe(write_recipe(tmp_path))
    assert recipe.corpus == tmp_path / "docs"
    assert recipe.method == "student"


def test_nothing_is_overwritten_unless_asked(animals, tmp_path):
    path = write_recipe(animals(tmp_path))
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="there already → edit it, or replace it with --force"):
        write_recipe(tmp_path)
    assert path.read_text(encoding="utf-8") == "mine"
    write_recipe(tmp_path, force=True)
    assert read_recipe(path)


def test_missing_and_broken_data_are_named_and_no_recipe_is_left(tmp_path):
    with pytest.raises(ConfigError, match=r"no documents in .*: looked for corpus\.jsonl"):
        write_recipe(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        write_recipe(tmp_path, tmp_path / "none.jsonl")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"corpus\.jsonl:2"):
        write_recipe(tmp_path)
    assert not (tmp_path / "recipe.yaml").exists()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_any_file_name_survives_the_yaml(name):
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(f"key: {quoted(name)}    # a comment\n", encoding="utf-8")
        assert read_yaml(path)["key"] == (name if name not in ("true", "false") else name == "true")
