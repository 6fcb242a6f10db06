"""`distillir data list` and `distillir data prepare`."""

import json


def test_the_list_names_what_is_needed_and_where_it_is(call):
    code, out, err = call("data", "list")
    assert code == 0, err
    assert "topiocqa" in out
    assert "offered: https://github.com/McGill-NLP/topiocqa" in out
    assert "collection.tsv (not with --no-corpus), queries.train.tsv (optional)" in out
    assert "not verified: the text format" in out
    code, out, _ = call("data", "list", "--json")
    assert json.loads(out)["msmarco"]["files"][0] == {
        "name": "collection.tsv", "what": "8.8 million passages", "needed": True, "corpus": True,
    }  # fmt: skip


def test_prepare_writes_says_and_goes_on(call, tmp_path):
    rows = [
        {"History": ["A", "B"], "QuAC_dialog_id": "C", "Question": "What?", "Question_no": 1, "Rewrite": "What is A?"}
    ]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    asked = ("data", "prepare", "canard", "--source", tmp_path, "--out", tmp_path / "out")
    code, _, err = call(*asked)
    assert code == 1
    assert "train.jsonl: 1 rows where the release has 31,526" in err
    code, out, err = call(*asked, "--partial")
    assert code == 0, err
    assert f"{tmp_path / 'out' / 'train.jsonl'}: 1 of 1 conversations (was there)" in out
    assert "note: train.jsonl: 1 rows where the release has 31,526" in err
    code, out, _ = call(*asked, "--partial", "--json")
    assert json.loads(out)["reused"] == ["train.jsonl", "dev.jsonl", "test.jsonl"]
    code, _, err = call("data", "prepare", "nq", "--source", tmp_path, "--out", tmp_path / "nq")
    assert code == 1
    assert "nq lacks psgs_w100.tsv (21 million passages)" in err
    code, _, err = call("data", "prepare", "nq", "--source", tmp_path, "--out", tmp_path / "nq", "--no-corpus")
    assert code == 1
    assert "nq lacks biencoder-nq-train.json" in err
