"""A run's index moved into another engine: stopped at whatever moment, it goes on, and nothing added is lost."""

import subprocess
import sys
from pathlib import Path

import moving_run
import pytest

from distillir.errors import SearchIndexError
from distillir.recipes import marks, migrate_run
from distillir.recipes.progress import Stages
from distillir.recipes.stages import indexed


@pytest.fixture
def run(tmp_path):
    """A run folder with an index of 21 documents, and what it was made from."""
    return tmp_path / "run", *moving_run.prepare(tmp_path / "run")


@pytest.fixture
def stopped(run, monkeypatch):
    """The same, its migration interrupted when the mark was to be written."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(marks, "write_text", interrupt)
        with pytest.raises(KeyboardInterrupt):
            migrate_run(run[0], "qdrant_edge")
    return run


def said(capsys, out, engine, corpus, documents):
    indexed(out, engine, corpus, documents, Stages())
    return capsys.readouterr().err


def test_a_stop_before_the_mark_goes_on(stopped, capsys):
    out, *made_from = stopped
    moved = migrate_run(out, "qdrant_edge")
    assert (moved.documents, moved.written, moved.queries) == (21, 0, 21)
    assert "reused" in said(capsys, out, "qdrant_edge", *made_from)
    assert moving_run.count_of(out) == 21
    with pytest.raises(SearchIndexError, match=r"index\.before is in the way"):
        migrate_run(out, "qdrant_edge")


def test_indexing_instead_builds_nothing_anew(stopped, capsys):
    out, *made_from = stopped
    assert "reused" in said(capsys, out, "qdrant_edge", *made_from)
    assert moving_run.count_of(out) == 21


def test_another_engine_than_the_stopped_one_is_refused_and_the_mark_is_true(stopped, capsys):
    out, *made_from = stopped
    with pytest.raises(SearchIndexError, match=r"index\.before is in the way"):
        migrate_run(out, "exact")
    assert "reused" in said(capsys, out, "qdrant_edge", *made_from)
    assert moving_run.count_of(out) == 21


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_killed_before_each_of_its_changes_to_the_disk(tmp_path):
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, Path(moving_run.__file__), tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert int(ended.stdout) > 10
