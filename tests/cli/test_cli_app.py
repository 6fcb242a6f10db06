"""The command line: it parses, calls, and ends every deliberate error in one line."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

import distillir
from distillir.data import write_qrels, write_run
from distillir.errors import ConfigError
from distillir.recipes import kinds

RUN = {"q1": {"a": 2.0, "b": 1.0}, "q2": {"c": 3.0}}
QRELS = {"q1": {"b": 1}, "q2": {"d": 1}}


@pytest.fixture
def measured(tmp_path):
    write_run(tmp_path / "mine.trec", RUN)
    write_run(tmp_path / "mine.tsv", RUN)
    write_qrels(tmp_path / "qrels.txt", QRELS)
    write_qrels(tmp_path / "qrels.tsv", QRELS)
    return tmp_path


def test_help_names_the_commands(call):
    code, out, _ = call("--help")
    assert code == 0
    for command in ("quickstart", "train", "search", "evaluate"):
        assert command in out


def test_without_a_command_it_shows_help(call):
    code, out, err = call()
    assert code == 2
    assert "Usage" in out + err


def test_version(call):
    assert call("--version") == (0, f"{distillir.__version__}\n", "")


def test_an_unknown_command_or_option_is_a_usage_error(call):
    assert call("trian")[0] == 2
    code, _, err = call("search", "run", "q", "-k", "0")
    assert code == 2
    assert "-k" in err


@pytest.mark.parametrize(("run", "qrels"), [("mine.trec", "qrels.txt"), ("mine.tsv", "qrels.tsv")])
def test_evaluate_prints_a_table(call, measured, run, qrels):
    code, out, _ = call("evaluate", measured / run, measured / qrels, "-m", "RR", "-m", "P@1")
    assert code == 0
    assert "mine" in out
    assert "0.250" in out  # (1/2 + 0) / 2
    assert "MRR" in out
    assert "P@1" in out


def test_evaluate_as_json(call, measured):
    code, out, _ = call("evaluate", measured / "mine.trec", measured / "qrels.txt", "--json")
    assert code == 0
    found = json.loads(out)
    assert "0.25" in json.dumps(found)
    assert "mine" in json.dumps(found)


def test_evaluate_by_conversation_and_turn(call, measured):
    message = {"role": "user", "content": "q"}
    rows = [{"id": name, "group": "one", "messages": [message]} for name in RUN]
    (measured / "contexts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = call(
        "evaluate", measured / "mine.trec", measured / "qrels.txt", "--contexts", measured / "contexts.jsonl"
    )
    assert code == 0
    assert "2 judged queries" in out
    assert "1 conversation" in out
    assert "by turn" in out
    assert "in 2 conversations" in call("evaluate", measured / "mine.trec", measured / "qrels.txt")[1]


def test_evaluate_loads_no_model_library(measured):
    program = (
        "import sys; from distillir.cli import main\n"
        f"sys.argv = ['distillir', 'evaluate', {str(measured / 'mine.trec')!r}, {str(measured / 'qrels.txt')!r}]\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def one_line(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_errors_of_files_are_one_line(call, measured):
    code, out, err = call("evaluate", measured / "none.trec", measured / "qrels.txt")
    assert (code, out) == (1, "")
    assert "none.trec: no such file" in one_line(err)
    (measured / "bad.trec").write_text("q1 Q0 a 1 NaN tag\n")
    assert "bad.trec:1" in one_line(call("evaluate", measured / "bad.trec", measured / "qrels.txt")[2])
    assert "nDGC@3" in one_line(call("evaluate", measured / "mine.trec", measured / "qrels.txt", "-m", "nDGC@3")[2])


def test_a_bad_recipe_is_one_line_that_names_the_key(call, tmp_path):
    (tmp_path / "recipe.yaml").write_text("out: run\ncorpus: c\ntrain: t\ndev: d\nepochs: 3\n")
    code, _, err = call("train", tmp_path / "recipe.yaml")
    assert code == 1
    assert "epochs" in one_line(err)
    assert "→" in err
    assert "No such file" in one_line(call("train", tmp_path / "none.yaml")[2])


def test_searching_what_was_never_trained_is_one_line(call, tmp_path):
    code, _, err = call("search", tmp_path, "anything")
    assert code == 1
    assert "not a run folder with an index" in one_line(err)


@pytest.fixture
def breaking(monkeypatch, tmp_path):
    """Makes `distillir train` meet an error."""
    (tmp_path / "recipe.yaml").write_text("out: run\ncorpus: c\ntrain: t\ndev: d\n")

    def install(error):
        def run(*_, **__):
            raise error

        monkeypatch.setattr(kinds, "SPARSE", replace(kinds.SPARSE, run=run))
        return tmp_path / "recipe.yaml"

    return install


def test_a_full_disk_is_one_line(call, breaking):
    code, _, err = call("train", breaking(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/file")))
    assert code == 1
    assert "No space left on device" in one_line(err)
    assert "/somewhere/file" in err
    assert "space on its disk" in err


def test_a_cause_of_several_lines_is_one_line(call, breaking):
    code, _, err = call("train", breaking(ConfigError("first\nsecond", "cure")))
    assert (code, err) == (1, "error: first second → cure\n")


def test_an_interrupt_ends_with_130_and_says_what_is_kept(call, breaking):
    code, _, err = call("train", breaking(KeyboardInterrupt()))
    assert code == 130
    assert err.startswith("interrupted: finished stages are kept")
    assert err.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback(call, breaking):
    with pytest.raises(ZeroDivisionError):
        call("train", breaking(ZeroDivisionError()))


def test_train_and_search(call, animals, tmp_path):
    folder = animals(tmp_path)
    (folder / "recipe.yaml").write_text(
        "out: run\ncorpus: corpus.jsonl\ntrain: train.jsonl\ndev: dev.jsonl\ntraining: {max_steps: 1, batch_size: 4}\n"
    )
    code, out, err = call("train", folder / "recipe.yaml", "--json")
    assert code == 0, err
    assert json.loads(out) == {"out": str(folder / "run"), "steps": 1, "comparison": None}
    assert "train: step 1 of 1" in err
    turns = ("what does the tiger eat", "What it finds.", "where does it live")
    code, out, _ = call("search", folder / "run", *turns, "-k", "3", "--json")
    assert code == 0
    hits = json.loads(out)["hits"]
    assert len(hits) == 3
    assert hits[0]["title"] == "tiger"
    assert hits[0]["terms"][0][1] > 0
    code, out, _ = call("search", folder / "run", *turns, "-k", "3")
    lines = out.splitlines()
    assert [line.split(".")[0].strip() for line in lines[::2]] == ["1", "2", "3"]
    assert "tiger" in lines[0]
    code, out, _ = call("train", folder / "recipe.yaml", "--quiet")
    assert f"student   {folder / 'run' / 'student'}" in out
    assert "next:" not in out


def test_a_speaker_is_the_other_of_the_next_turn(call, monkeypatch, tmp_path):
    seen = {}

    class Fake:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def retrieve(self, messages, k):
            seen["messages"], seen["k"] = messages, k
            return []

    monkeypatch.setattr("distillir.recipes.open_any", lambda _: Fake())
    assert call("search", tmp_path, "Hello!", "q1", "a1", "q2")[0] == 0
    assert [m["role"] for m in seen["messages"]] == ["assistant", "user", "assistant", "user"]
    assert [m["content"] for m in seen["messages"]] == ["Hello!", "q1", "a1", "q2"]
    assert seen["k"] == 5
