def test_init_writes_a_recipe_and_says_what_comes_next(call, animals, tmp_path):
    folder = animals(tmp_path)
    code, out, _ = call("init", folder)
    assert code == 0
    assert out == f"{folder / 'recipe.yaml'}\nnext:     distillir index {folder / 'recipe.yaml'}\n"
    code, _, err = call("init", folder)
    assert code == 1
    assert "there already → edit it, or replace it with --force" in err
    assert call("init", folder, "--force")[0] == 0


def test_init_takes_files_from_elsewhere(call, animals, tmp_path):
    data = animals(tmp_path / "data")
    code, _, _ = call("init", tmp_path / "new", "--corpus", data / "corpus.jsonl", "--train", data / "train.jsonl")
    assert code == 0
    text = (tmp_path / "new" / "recipe.yaml").read_text(encoding="utf-8")
    assert "train: ../data/train.jsonl" in text
    assert "# dev: dev.jsonl" in text
