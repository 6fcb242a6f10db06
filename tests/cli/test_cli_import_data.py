import gzip
import json

from distillir.data import read_contexts


def test_rewrite_sets_become_a_train_file(call, tmp_path):
    rewrite = "when was dune written?"
    row = {"_id": "t#2", "history": ["who wrote dune", "herbert"], "question": "when?", "rewrite": rewrite}
    source = tmp_path / "canard.jsonl.gz"
    source.write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    code, out, err = call("import-data", "canard", source, tmp_path / "out", "--json")
    assert code == 0, err
    assert json.loads(out) == {"out": str(tmp_path / "out"), "rows": {"train.jsonl": 1}}
    (context,) = read_contexts(tmp_path / "out" / "train.jsonl")
    assert context.rewrites == {"human": rewrite}


def test_a_wrong_name_is_one_line(call, tmp_path):
    code, _, err = call("import-data", "msmarco", tmp_path, tmp_path / "out")
    assert code == 1
    assert "no data set 'msmarco' → use one of" in err
