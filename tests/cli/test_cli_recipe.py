"""`distillir recipe check` and `distillir reproduce --dry-run`."""

import json
from pathlib import Path

import releases

RECIPES = Path(__file__).parents[2] / "recipes"


def test_a_check_ends_by_what_it_found(call, animals, tmp_path):
    animals(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text("out: run\ncorpus: corpus.jsonl\n", encoding="utf-8")
    code, out, err = call("recipe", "check", path)
    assert (code, err) == (0, "")
    assert "it can run" in out
    path.write_text("out: run\ncorpus: gone.jsonl\n", encoding="utf-8")
    code, out, _ = call("recipe", "check", path, "--json")
    assert code == 1
    assert json.loads(out)["missing"] == [f"corpus: {tmp_path / 'gone.jsonl'}"]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(call, tmp_path):
    source = releases.topiocqa(tmp_path / "release")
    (source / "topiocqa_dev.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call("reproduce", "disco", "--source", source, "--out", tmp_path / "out", "--dry-run")
    assert (code, err) == (0, "")
    assert "not reproduced so far" in out
    assert "missing  topiocqa_dev.json (turns)" in out
    assert f"there    {source / 'topiocqa_train.json'}" in out
    assert "its owners offer it at https://github.com/McGill-NLP/topiocqa" in out
    assert "distillir label rewrite train.jsonl" in out
    assert "R@100 0.879" in out
    assert sorted(tmp_path.rglob("*")) == before
    code, out, _ = call("reproduce", "twolar", "--source", source, "--dry-run")
    assert "file splade: splade.trec" in out
    code, _, err = call("reproduce", "bert", "--source", source, "--dry-run")
    assert code == 1
    assert "no method 'bert' → use one of disco" in err
