import gzip
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from distillir.errors import LabelError
from distillir.labels import Label, LabelRequest, LabelStore, overview, schema

OLD = Path(__file__).parent / "files" / "labels_v1.db.gz"  # written by version 1


def ask(i, **change):
    fields = {"teacher": "llm", "model": "m1", "prompt_version": "p1", "input": ["q", i]} | change
    return LabelRequest(**fields, context_id=f"c{i}")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.db"
    with gzip.open(OLD) as packed, path.open("wb") as out:
        shutil.copyfileobj(packed, out)
    return path


def layout(path):
    with sqlite3.connect(path) as raw:
        tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        columns = {table: raw.execute(f"PRAGMA table_info({table})").fetchall() for table in tables}
        version = raw.execute("PRAGMA user_version").fetchone()[0]
    raw.close()
    return version, columns


def test_an_older_store_is_migrated_and_keeps_everything(old, tmp_path):
    assert layout(old)[0] == 1
    with LabelStore(old, clock=lambda: 2005.0) as store:
        assert store.rewrites("llm") == {"c1": "Where was Ann born?"}
        repaired = store.get(ask(1).key)
        assert repaired == Label(
            "rewrite", "Where was Ann born?", '"Where was Ann born?"', "repaired", "m1-2025", 10, 5, 0.5, 0.25,
            "2025-01-02T03:04:05+00:00",
        )  # fmt: skip
        assert (repaired.reason, repaired.attempts, repaired.scale) == ("", 1, "")
        assert store.values("judge", "scores") == {"c3": {"d1": 0.5, "d2": -1}}
        assert store.values("judge", "order") == {"c4": ["d2", "d1"]}
        assert store.missing([ask(1), ask(2)]) == []  # nothing is asked again
        assert [summary.takeovers for summary in store.teachers()] == [0, 1]
        assert store.claim([ask(6)], "c", ttl=10) == []  # b's lease holds until 2010
        store.put(ask(9), Label("rewrite", "new", reason="quotes", attempts=2))
    with LabelStore(old) as again, LabelStore(tmp_path / "new.db") as new:
        assert again.get(ask(9).key).attempts == 2
        assert layout(old) == layout(new.path)
        assert overview(again, 2005.0)[-1].labels == 3


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    with LabelStore(tmp_path / "l.db") as store:
        store.put(ask(1), Label("rewrite", "r"))
    newer = schema.VERSION + 1
    with sqlite3.connect(store.path) as raw:
        raw.execute(f"PRAGMA user_version = {newer}")
    raw.close()
    with pytest.raises(LabelError, match=f"schema version {newer}, this distillir reads version .* → update distillir"):
        LabelStore(store.path)
    assert layout(store.path)[0] == newer


def test_a_migration_that_fails_leaves_the_old_store(old, monkeypatch):
    before = layout(old)
    monkeypatch.setattr(schema, "STEPS", [*schema.STEPS, "CREATE TABLE more (x); ALTER TABLE absent ADD COLUMN y"])
    monkeypatch.setattr(schema, "VERSION", 3)
    with pytest.raises(LabelError, match="no such table: absent"):
        LabelStore(old)
    assert layout(old) == before
    monkeypatch.undo()
    with LabelStore(old) as store:
        assert len(store) == 5


KILLED = textwrap.dedent("""
    import os, signal, sqlite3, sys
    from distillir.labels import LabelStore, schema
    connect = sqlite3.connect
    def connecting(*a, **k):
        db = connect(*a, **k)
        db.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
        return db
    sqlite3.connect = connecting
    schema.STEPS[1] += "; SELECT die()"
    LabelStore(sys.argv[1])
""")


def test_a_kill_in_the_middle_of_a_migration_loses_nothing(old):
    before = layout(old)
    done = subprocess.run([sys.executable, "-c", KILLED, str(old)], check=False)
    assert done.returncode == -9
    assert layout(old) == before
    with LabelStore(old) as store:
        assert len(store) == 5
        assert store.rewrites("llm") == {"c1": "Where was Ann born?"}
