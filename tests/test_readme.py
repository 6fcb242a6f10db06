"""Every command and code block of the README, on a small corpus."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from distillir import cli
from distillir.data import read_contexts
from distillir.quickstart import quickstart_turns, standard_library
from distillir.recipes import presets, read_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.M | re.S)
COMMANDS = [
    shlex.split(line, comments=True)
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if line.strip()
]
DEMO = ["bash", "scripts/demo"]
LONG = [
    ["bash", "scripts/test"],
    ["bash", "scripts/check"],
    ["bash", "scripts/docs"],
    ["bash", "scripts/bench"],
    ["bash", "scripts/test", "-m", "slow"],
]


def block(language: str, containing: str) -> str:
    (found,) = [text for name, text in BLOCKS if name == language and containing in text]
    return found


def distillir(*words: str) -> None:
    """What the console script does, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["distillir", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder in which `scripts/demo` has run: the real quickstart on a part of its chats, for two steps."""
    folder = tmp_path_factory.mktemp("clone")
    turns = {split: quickstart_turns(split)[:12] for split in ("train", "dev", "test")}
    wanted = {entry for some in turns.values() for turn in some for entry in turn.relevant}
    part = [p for i, p in enumerate(standard_library()) if p["id"] in wanted or i % 100 == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("distillir.quickstart.run.quickstart_turns", turns.__getitem__)
        patch.setattr("distillir.quickstart.run.standard_library", lambda: iter(part))
        patch.setattr("distillir.quickstart.run.TRAINING", {"epochs": 1, "max_steps": 2, "batch_size": 8})
        distillir("quickstart", "--out", "build/quickstart", "--quiet")  # what the script calls: test_cli_scripts
    return folder


@pytest.fixture
def here(clone, monkeypatch):
    monkeypatch.chdir(clone)
    return clone


def test_every_block_is_of_a_kind_that_is_tested_here():
    assert [language for language, _ in BLOCKS] == [
        "",
        "bash",
        "python",
        "bash",
        "python",
        "json",
        "yaml",
        "bash",
        "python",
        "bash",
    ]
    assert all(line.startswith("pip install ") for line in BLOCKS[0][1].splitlines())


def test_every_command_is_run_here_or_by_the_tests_of_the_scripts():
    tried = [DEMO, *LONG]
    rest = [command for command in COMMANDS if command not in tried]
    assert all(command in COMMANDS for command in tried)
    assert sorted({command[1] for command in rest}) == [
        "chat",
        "doctor",
        "evaluate",
        "export",
        "import-chats",
        "index",
        "init",
        "query-terms",
        "search",
        "train",
    ]
    assert {command[0] for command in rest} == {"distillir"}
    for command in tried:
        assert (ROOT / command[1]).is_file()


def test_the_demo_leaves_what_the_readme_promises(here):
    assert "build/quickstart/report.html" in README
    assert "<table" in (here / "build/quickstart/report.html").read_text(encoding="utf-8")


def test_evaluating_a_run_of_the_demo(here, capsys):
    (command,) = [c for c in COMMANDS if c[:2] == ["distillir", "evaluate"] and "recipe.yaml" not in c]
    distillir(*command[1:])
    assert "nDCG@10" in capsys.readouterr().out


DOCS = {
    "create.md": "# Create a bucket\n\nTo create a bucket, open the console, choose Buckets, then Create bucket.\n",
    "delete.md": "# Delete a bucket\n\nTo delete a bucket, empty it first, then choose Delete bucket.\n",
    "otter.txt": "An otter eats fish and crabs.\n",
}


@pytest.fixture
def documents(tmp_path, monkeypatch):
    """A working folder with `docs` and a log, as somebody has them who comes with documents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name, text in DOCS.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    messages = [{"role": "user", "content": "how do i delete a bucket?"}, {"role": "assistant", "content": "Empty it."}]
    (tmp_path / "logs.jsonl").write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    return tmp_path


def test_the_commands_of_somebody_with_documents_run_in_their_order(documents, capsys, monkeypatch):
    text = block("bash", "distillir init")
    commands = [shlex.split(line, comments=True) for line in text.splitlines()]
    (documents / "typed").write_text("how do i delete a bucket?\n/quit\n", encoding="utf-8")
    said = {}
    for command in commands:
        with (documents / "typed").open(encoding="utf-8") as typed:
            monkeypatch.setattr("sys.stdin", typed)
            distillir(*command[1:])
        said[command[1]] = capsys.readouterr().out
    assert "delete.md#1" in said["search"] or "Delete a bucket" in said["search"]
    assert "query terms by the turn they came from" in said["chat"]
    assert "neural_sparse" in said["query-terms"]
    assert (documents / "docs.ndjson").is_file()
    assert len(read_contexts(documents / "chats.jsonl")) == 1
    assert "everything needed is here" in said["doctor"]


def test_the_five_lines_on_a_folder(documents, capsys):
    names = {}
    exec(compile(block("python", "from_documents"), "README.md", "exec"), names)
    names["retriever"].close()
    assert capsys.readouterr().out.splitlines()[0].startswith("delete.md#1")


def test_what_the_demo_trained_opens_and_answers(here, capsys):
    code = block("python", "open_retriever")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    names["retriever"].index.close()
    assert len(names["hits"]) == 5
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert printed[0].startswith(names["hits"][0].id)


@pytest.mark.filterwarnings("default")
def test_the_student_opens_in_sentence_transformers(here):
    names = {}
    exec(compile(block("python", "SparseEncoder"), "README.md", "exec"), names)
    ours = names["encoder"].encode([[{"role": "user", "content": "and with a header?"}]])
    assert ours.shape[0] == 1
    assert ours.to_dense().count_nonzero() > 0


def test_the_context_is_one_that_is_read(tmp_path):
    text = block("json", '"messages"')
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")
    (context,) = read_contexts(tmp_path / "train.jsonl")
    row = json.loads(text)
    assert (context.id, context.group, context.conversation.depth) == ("c1#2", "c1", 2)
    assert context.rewrites == {"human": row["rewrite"]}
    assert list(context.relevant) == row["relevant"]


def test_the_recipe_trains(animals, tmp_path, monkeypatch, capsys):
    folder = animals(tmp_path)
    monkeypatch.chdir(folder)
    given = block("yaml", "corpus:")
    (folder / "recipe.yaml").write_text(given, encoding="utf-8")
    recipe = read_recipe("recipe.yaml")
    assert recipe.method == "student"
    assert (recipe.train_settings().lr, recipe.train_settings().lr_scale) == (1e-4, {"gate.": 10.0})
    (others,) = re.findall(r"or (\w+(?:, \w+)*), or the options", given)
    assert sorted([*others.split(", "), recipe.method]) == presets()
    short = yaml.safe_load(given)
    short["training"] |= {"max_steps": 3, "batch_size": 8}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(short), encoding="utf-8")
    assert ["distillir", "evaluate", "recipe.yaml"] in COMMANDS
    distillir("evaluate", "recipe.yaml")
    assert "\nstudent" not in capsys.readouterr().out
    (command,) = [c for c in COMMANDS if c[:2] == ["distillir", "train"]]
    distillir(*command[1:])
    printed = capsys.readouterr()
    assert "train: step 3 of 3" in printed.err
    assert "untrained_gate (baseline)" in printed.out
    assert (folder / "run" / "report.html").is_file()


def test_methods_named_in_the_table_are_presets():
    named = re.findall(r"`method: (\w+)`", README)
    assert named
    assert set(named) <= set(presets())


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert "PAPERS.md" in links
    for link in links:
        if "://" not in link:
            assert (ROOT / link).exists(), link
