"""What a newcomer gets wrong. Each ends in one line that names the cause and, behind an arrow, the cure."""

import errno
import json
import shutil
import socket
import sys

import pytest
import yaml

import distillir
from distillir.index import create_index
from distillir.vectors import layout
from distillir.vectors.files import FolderLock

GONE = object()


@pytest.fixture
def recipe(animals, tmp_path):
    """A recipe that works, before somebody changes something."""
    folder = animals(tmp_path)
    options = {name: f"{name}.jsonl" for name in ("corpus", "train", "dev", "test")}
    options |= {"out": "run", "engine": "exact", "training": {"epochs": 1, "max_steps": 1}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    return folder / "recipe.yaml"


@pytest.fixture
def fails(fails_anywhere, recipe):
    """Runs a command that must fail in one line; returns (cause, cure)."""
    return lambda *command: fails_anywhere(*command, *([] if "--quiet" in command else ["--quiet"]))


@pytest.fixture
def fails_anywhere(call):
    """`fails` for commands that show no progress."""

    def run(*command):
        code, out, err = call(*command)
        assert (code, out) == (1, "")
        last = err.splitlines()[-1]
        assert last.startswith("error: ")
        assert "Traceback" not in err
        cause, arrow, cure = last.removeprefix("error: ").partition(" → ")
        assert arrow, last
        assert cure.strip(), last
        return cause, cure

    return run


def change(recipe, **options):
    kept = yaml.safe_load(recipe.read_text(encoding="utf-8")) | options
    recipe.write_text(yaml.safe_dump({k: v for k, v in kept.items() if v is not GONE}), encoding="utf-8")


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewrite(path, change_row):
    text = "".join(json.dumps(change_row(row)) + "\n" for row in rows(path))
    path.write_text(text, encoding="utf-8")


def test_a_column_of_another_name(fails, recipe):
    rewrite(recipe.parent / "corpus.jsonl", lambda row: {"_id": row["_id"], "body": row["text"]})
    cause, cure = fails("index", recipe)
    assert "corpus.jsonl:1: missing field 'text', the row has '_id', 'body'" in cause
    assert "rename" in cure


def test_an_empty_file(fails, recipe):
    (recipe.parent / "corpus.jsonl").write_text("", encoding="utf-8")
    cause, _ = fails("index", recipe)
    assert "corpus.jsonl" in cause
    assert "the file is empty" in cause


def test_a_table_where_lines_of_json_belong(fails, recipe):
    (recipe.parent / "corpus.csv").write_text("id,text\n1,otters eat fish\n", encoding="utf-8")
    change(recipe, corpus="corpus.csv")
    cause, cure = fails("index", recipe)
    assert "corpus.csv" in cause
    assert "JSON" in cause + cure


def test_one_array_instead_of_lines(fails, recipe):
    path = recipe.parent / "train.jsonl"
    path.write_text(json.dumps(rows(path), indent=1), encoding="utf-8")
    cause, cure = fails("train", recipe)
    assert "train.jsonl:1" in cause
    assert "one JSON object a line" in cure


def test_a_file_in_another_encoding(fails, recipe):
    path = recipe.parent / "corpus.jsonl"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    cause, cure = fails("index", recipe)
    assert "UTF-8" in cause + cure


def test_a_conversation_that_ends_with_the_answer(fails, recipe):
    def answered(row):
        return row | {"messages": [*row["messages"], {"role": "assistant", "content": "fish"}]}

    rewrite(recipe.parent / "train.jsonl", answered)
    cause, cure = fails("train", recipe)
    assert "train.jsonl:1: " in cause
    assert "ends with the assistant's turn" in cause
    assert "end with the user's question" in cure


def test_a_role_nobody_knows(fails, recipe):
    rewrite(recipe.parent / "dev.jsonl", lambda row: row | {"messages": [{"role": "human", "content": "what?"}]})
    cause, cure = fails("train", recipe)
    assert "unknown role 'human'" in cause
    assert "'user'" in cure


def test_a_misspelt_option(fails, recipe):
    change(recipe, training={"epocs": 3})
    cause, cure = fails("train", recipe)
    assert "epocs" in cause
    assert "epochs" in cause + cure


def test_a_tab_in_the_recipe(fails, recipe):
    recipe.write_text(recipe.read_text(encoding="utf-8") + "method:\n\tname: student\n", encoding="utf-8")
    cause, _ = fails("index", recipe)
    assert "recipe.yaml:" in cause
    assert "not YAML" in cause


def test_a_checkpoint_without_a_head(fails, recipe, tmp_path):
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "otter"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path / "headless")
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "headless")
    change(recipe, model="headless")
    cause, cure = fails("index", recipe)
    assert "no trained weights for cls.predictions" in cause
    assert "saved with its MLM head" in cure


def test_a_model_that_is_nowhere(fails, recipe, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    change(recipe, model="nobody/no-such-model")
    cause, cure = fails("index", recipe)
    assert "nobody/no-such-model" in cause
    assert "give a folder, or a model id that the hub or its cache has" in cure


def test_a_test_conversation_among_the_training_ones(fails, recipe):
    with (recipe.parent / "train.jsonl").open("a", encoding="utf-8") as train:
        train.write((recipe.parent / "test.jsonl").read_text(encoding="utf-8"))
    cause, cure = fails("train", recipe)
    assert "is in both train and test" in cause
    assert "split by conversation" in cure


def test_judgements_of_another_corpus(fails, recipe):
    rewrite(recipe.parent / "test.jsonl", lambda row: row | {"relevant": ["page-7"]})
    cause, cure = fails("evaluate", recipe)
    assert "none of its relevant documents is in the corpus, such as 'page-7'" in cause
    assert "belong together" in cure


def test_contexts_without_rewrites(fails, recipe):
    def bare(row):
        return {name: value for name, value in row.items() if name != "rewrite"}

    rewrite(recipe.parent / "train.jsonl", bare)
    cause, cure = fails("train", recipe)
    assert "no context has a rewrite by human" in cause
    assert "rewrite" in cure


def test_an_index_of_another_vocabulary(fails, call, recipe):
    assert call("index", recipe, "--quiet")[0] == 0
    folder = recipe.parent / "run" / "index"
    shutil.rmtree(folder)
    create_index(folder, "exact", dim=7).close()
    code, _, err = call("search", recipe, "what does the otter eat")
    assert code == 1
    assert "dimensions" in err
    assert " → " in err


def test_two_commands_in_one_run_folder(fails, recipe):
    (recipe.parent / "run").mkdir()
    lock = FolderLock(recipe.parent / "run" / ".lock")
    try:
        cause, cure = fails("index", recipe)
    finally:
        lock.release()
    assert "another process" in cause
    assert cure


def test_no_space_left(fails, recipe, monkeypatch):
    """The disk fills while vectors are written."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("distillir.vectors.files.os.fsync", full)
    cause, cure = fails("encode", recipe)
    assert "No space left" in cause
    assert "space" in cure
    assert layout.MANIFEST not in {path.name for path in (recipe.parent / "run" / "corpus.vectors").glob("*")}


def test_searching_before_anything_was_indexed(call, recipe):
    code, _, err = call("search", recipe, "anything")
    assert code == 1
    assert "not a run folder with an index → run `distillir index RECIPE`" in err


def test_a_binary_file_in_the_folder(call, recipe):
    """It is named and left out; what can be read is read."""
    docs = recipe.parent / "docs"
    docs.mkdir()
    (docs / "otter.md").write_text("# Otters\n\nAn otter eats fish.\n", encoding="utf-8")
    (docs / "logo.md").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    recipe.write_text("out: run\ncorpus: docs\nengine: exact\n", encoding="utf-8")
    code, out, err = call("index", recipe)
    assert (code, out.split()[0]) == (0, "1")
    assert "logo.md: " in err
    assert "binary" in err
    (docs / "otter.md").unlink()
    code, _, err = call("index", recipe, "--quiet")
    assert code == 1
    assert "nothing in this folder can be read" in err
    assert " → give files of these kinds: " in err


def test_a_port_that_is_taken(fails_anywhere, recipe):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        cause, cure = fails_anywhere("serve", recipe.parent / "run", "--port", port)
    assert cause == f"port {port} of 127.0.0.1 is taken by another program"
    assert "--port" in cure


def test_a_service_for_others_without_a_token(fails_anywhere, recipe, monkeypatch):
    monkeypatch.delenv("DISTILLIR_TOKEN", raising=False)
    cause, cure = fails_anywhere("serve", recipe.parent / "run", "--host", "0.0.0.0")
    assert "DISTILLIR_TOKEN is not set" in cause
    assert "export DISTILLIR_TOKEN=" in cure


def test_a_folder_that_is_no_run(fails_anywhere, recipe):
    cause, cure = fails_anywhere("serve", recipe.parent / "run", "--port", 0)
    assert "no such run folder" in cause
    assert "distillir quickstart" in cure
    cause, cure = fails_anywhere("serve", recipe.parent, "--port", 0)
    assert "neither a run folder with an index nor one of responses" in cause
    assert "distillir index RECIPE" in cure


def test_a_fallback_without_anybody_to_fall_back_to(fails_anywhere, recipe):
    cause, cure = fails_anywhere("serve", recipe.parent / "run", "--port", 0, "--fallback")
    assert "need the language model" in cause
    assert "--rewriter-url" in cure


@pytest.mark.parametrize(("kind", "told"), [("dense", "`distillir search`"), ("reranker", "--reranker")])
def test_a_run_that_has_no_service(fails_anywhere, recipe, kind, told):
    (recipe.parent / "run").mkdir()
    (recipe.parent / "run" / "recipe.json").write_text(json.dumps({"student": kind}), encoding="utf-8")
    cause, cure = fails_anywhere("serve", recipe.parent / "run", "--port", 0)
    assert kind in cause
    assert told in cure


def test_a_service_without_its_extra(fails_anywhere, recipe, monkeypatch):
    monkeypatch.delattr(distillir, "serving", raising=False)  # so that the package gets its own back at the end
    for name in [name for name in sys.modules if name.startswith("distillir.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    cause, cure = fails_anywhere("serve", recipe.parent / "run", "--port", 0)
    assert cause == "the package 'prometheus_client' is not installed"
    assert cure == 'pip install "distillir[serve]"'
