"""The first process leads: the others wait, train with it, and end with it. Processes really start here."""

import json
import socket
import subprocess
import sys

import crew_run
import pytest
import ranks_run

from distillir.training import crew, lead, on_every_process


def started(folder, what: str, processes: int = 2):
    """(exit code, what was told) of each process, and what went to standard error."""
    ranks_run.write_documents(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        subprocess.Popen(
            [sys.executable, crew_run.__file__, str(i), str(processes), str(port), str(folder), what],
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    errors = [child.communicate(timeout=100)[1] for child in children]
    files = [folder / f"told.{i}.json" for i in range(processes)]
    told = [json.loads(file.read_text()) if file.exists() else None for file in files]
    return [child.returncode for child in children], told, errors


def test_the_others_wait_and_train_what_the_first_does(tmp_path):
    codes, (first, other), errors = started(tmp_path, "well")
    assert codes == [0, 0], errors
    assert other["told"] is None
    assert len(first["seen"]) == 2
    assert other["seen"] == first["seen"]  # the same weights and dev figures, of two trainings
    assert first["seen"][0][0] == ranks_run.DOCUMENTS
    assert first["told"] == [one[1][-1][1] for one in first["seen"]]


@pytest.mark.slow
def test_where_the_first_refuses_the_others_go_quietly(tmp_path):
    codes, (first, other), errors = started(tmp_path, "refused")
    assert codes == [4, 1], errors
    assert "nothing to learn from" in first["told"]
    assert other is None
    assert "Error" not in errors[1]


@pytest.mark.slow
def test_where_the_first_dies_the_others_say_so(tmp_path):
    codes, (_, other), errors = started(tmp_path, "killed")
    assert codes == [7, 3], errors
    assert other["told"].startswith("the first process of this run has ended")
    assert "the same command goes on" in other["told"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["other", "other early"])
def test_where_another_dies_the_first_says_so(tmp_path, when):
    codes, (first, _), errors = started(tmp_path, when)
    assert codes == [3, 7], errors
    assert "another process of this run" in first["told"]


def test_one_process_is_led_by_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    watched = []

    @on_every_process
    def fit(evaluate=None, watch=watched.append):
        watch(evaluate)
        return 3

    assert lead(lambda: fit(evaluate=len)) == 3
    assert watched == [len]
    assert crew.is_first()
    assert crew.processes() == 1
