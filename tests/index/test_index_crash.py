"""Every acknowledged document is there after `kill -9`, whatever the moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest

from distillir.index import ENGINES, SparseQuery, create_index, open_index

VICTIM = """
import sys
from distillir.index import open_index
from distillir.vectors import csr_from_rows
with open_index(sys.argv[1]) as index:
    print("ready", flush=True)
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 400):
        ids = [f"{number}-{i}" for i in range(5)]
        index.add(ids, csr_from_rows([([number % 50, 50 + i], [1.0, 0.5]) for i in range(5)], 64), [{"n": number}] * 5)
        if number % 10 == 9:
            index.delete([f"{number - 9}-{i}" for i in range(5)])
            print("deleted", number - 9, flush=True)
        print("added", number, flush=True)
"""


def kill_repeatedly(path, engine, line, kills):
    create_index(path, line, dim=64).close()
    chance, acknowledged, deleted = random.Random(3), set(), set()
    for attempt in range(kills):
        first = 1000 * attempt
        environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(path), str(first)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert victim.stdout.readline() == "ready\n"
        lines = [victim.stdout.readline() for _ in range(chance.randint(1, 25))]
        time.sleep(chance.uniform(0, 0.05))
        victim.send_signal(signal.SIGKILL)
        lines += victim.stdout.read().splitlines(keepends=True)
        victim.stdout.close()
        assert victim.wait() == -signal.SIGKILL
        whole = [line.split() for line in lines if line.endswith("\n")]
        acknowledged |= {int(number) for verb, number in whole if verb == "added"}
        deleted |= {int(number) for verb, number in whole if verb == "deleted"}
        with open_index(path) as index:
            for number in acknowledged - deleted:
                if number % 10:  # the deletion of a round number may have been in flight
                    assert index.payloads([f"{number}-{i}" for i in range(5)]) == [{"n": number}] * 5
            for number in deleted:
                assert index.search(SparseQuery([number % 50], [1.0]), 10, {"n": number}) == []
            found = {hit.id for d in range(50) for hit in index.search(SparseQuery([d], [1.0]), 5000)}
            assert len(found) == len(index)
            numbers = {int(name.split("-")[0]) for name in found}
            if engine == "exact":  # a change is whole or absent
                assert len(found) == 5 * len(numbers)
    assert len(acknowledged) >= kills


@pytest.mark.parametrize("engine", ["exact", "qdrant_edge"])
def test_acknowledged_documents_survive_kill_minus_nine(tmp_path, engine):
    kill_repeatedly(tmp_path / "i", engine, engine, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_acknowledged_documents_survive_twenty_kills(tmp_path, engine_line, engine):
    kill_repeatedly(tmp_path / "i", engine, engine_line(engine), kills=20)
