"""`distillir labels …` on a small store."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from distillir.cli.labels import labels
from distillir.conversation import Conversation
from distillir.data import Context, write_contexts
from distillir.errors import ConfigError, DataError, LabelError
from distillir.labels import Label, LabelRequest, LabelStore, ShardWriter


def ask(i, **change):
    fields = {"teacher": "llm", "model": "m1", "prompt_version": "p1", "input": ["q", i]} | change
    return LabelRequest(**fields, context_id=f"c{i}")


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db", clock=lambda: 0.0) as opened:
        spent = {"tokens_in": 1000, "tokens_out": 20, "cost": 0.25, "attempts": 2}
        opened.put(ask(1), Label("rewrite", "Was Bob born in Rome, Italy on Monday?", "“Was…”", "repaired", **spent))
        opened.put(ask(2), Label("rewrite", None, "I cannot ☃", "malformed", reason="refusal"))
        opened.put(ask(3, teacher="judge"), Label("scores", {"d1": 1.0, "d2": 0.0}, scale="logit"))
        opened.claim([ask(9)], "a", ttl=10)
    return tmp_path / "labels.db"


def call(*arguments):
    """Standard output of a command that ends well, or the error it ends with."""
    done = CliRunner().invoke(labels, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_list(store):
    out = call("list", store)
    assert "llm · rewrite · m1 · prompt p1" in out
    assert "2 labels (0 ok, 1 repaired, 1 malformed) of 2 contexts" in out
    assert "3 calls, 1,000 tokens in, 20 out, 0 s, cost 0.25" in out
    assert "0 given up, 1 possibly paid without a label, 0 in flight" in out
    assert "scale logit" in out
    found = json.loads(call("list", store, "--json"))
    assert [group["teacher"] for group in found["groups"]] == ["judge", "llm"]
    assert (found["groups"][1]["possibly_paid"], found["conflicts"]) == (1, 0)


def test_show(store):
    out = call("show", store)
    assert out.count("contexts c") == 3
    assert "llm · rewrite · malformed (refusal)" in out
    assert 'raw      "I cannot ☃"' in out
    assert call("show", store, "c3").count("contexts") == 1
    assert call("show", store, ask(2).key, "c1", "-n", "1").count("contexts") == 1
    (only,) = json.loads(call("show", store, "--status", "malformed", "--json"))["labels"]
    assert (only["context_ids"], only["reason"]) == (["c2"], "refusal")
    assert call("show", store, "--teacher", "judge", "--kind", "scores").count("contexts") == 1
    assert call("show", store, "nobody") == "no such label\n"
    with pytest.raises(ConfigError, match="kinds are rewrite, response"):
        call("show", store, "--kind", "rewrites")


def test_audit(store, tmp_path):
    chat = [("Who is Ann's son?", "Bob is."), ("Where was he born?", "Bob was born in Rome, Italy, on Monday.")]
    asked = [Context(f"c{i}", Conversation.from_pairs(chat[:i], chat[i][0]), group="g") for i in (0, 1)]
    asked.append(Context("c2", Conversation.from_pairs(chat, "When?"), group="g"))
    write_contexts(tmp_path / "contexts.jsonl", asked)
    out = call("audit", store, "--contexts", tmp_path / "contexts.jsonl", "--out", tmp_path / "run")
    assert "! llm, answers: 100 % of the rewrites hold words of an answer" in out
    assert (tmp_path / "run" / "audit.txt").read_text() == out
    found = json.loads(call("audit", store, "--json", "--teacher", "judge"))
    assert {check["subject"] for check in found["checks"]} == {"judge (scores)"}
    assert "τ = 50" in call("audit", store, "--tau", "50")


def test_export_import_and_merge(store, tmp_path):
    out = call("export", store, tmp_path / "bundle", "--title", "Mine")
    assert "3 labels of 3 contexts" in out
    assert "no licence stated" in out
    assert "give --prompt FILE" in out
    assert (tmp_path / "bundle" / "README.md").read_text().count("# Mine") == 1
    done = json.loads(
        call("export", store, tmp_path / "b2", "--licence", "mit", "--no-raw", "--kind", "rewrite", "--json")
    )
    assert (done["labels"], done["contexts"]) == (2, 2)
    assert done["untold"] == ["p1"]
    report = json.loads(call("import", tmp_path / "new.db", tmp_path / "bundle", "--json"))
    assert report["sources"][0]["new"] == 3
    assert "0 new, 3 already there" in call("import", tmp_path / "new.db", tmp_path / "bundle")
    with ShardWriter(tmp_path / "shards", "w") as writer:
        writer.put(ask(1), Label("rewrite", "another"))
    out = call("merge", tmp_path / "new.db", store, tmp_path / "shards")
    assert "(shard): 1 labels, 0 new, 0 already there, 1 answered otherwise" in out
    assert 'aside "another"' in out
    with LabelStore(tmp_path / "new.db") as new:
        assert new.missing([ask(1), ask(2)]) == []
    assert json.loads(call("list", tmp_path / "new.db", "--json"))["conflicts"] == 1


@pytest.mark.parametrize("command", ["list", "show", "audit"])
def test_a_store_that_is_not_there_is_not_made(command, tmp_path):
    with pytest.raises(LabelError, match="no label store here"):
        call(command, tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bundle_is_refused(store, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        call("import", store, tmp_path / "nothing")


def test_no_model_library_is_loaded(store, tmp_path):
    program = (
        f"import sys\nstore, bundle = {str(store)!r}, {str(tmp_path / 'b')!r}\n"
        "from distillir.cli.labels import labels\n"
        "for words in (['list', store], ['audit', store], ['export', store, bundle]):\n"
        "    try:\n        labels(words)\n    except SystemExit as left:\n        assert not left.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
