from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from distillir.errors import VectorsError
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows
from distillir.vectors import files as files_module

DIM = 50


def rows_of(start, end):
    rng = np.random.default_rng(7)
    dense = rng.random((400, DIM)).astype(np.float32) * (rng.random((400, DIM)) < 0.2)
    return csr_from_rows([(np.flatnonzero(r), r[np.flatnonzero(r)]) for r in dense[start:end]], DIM)


def names_of(start, end):
    return [f"d{i}" for i in range(start, end)]


def open_writer(path, **options):
    return SparseVectorsWriter(path, **{"dim": DIM, "shard_rows": 10, "meta": {"encoder": "e1"}, **options})


def test_continues_after_the_last_committed_shard(tmp_path):
    with open_writer(tmp_path / "whole") as writer:
        writer.append(names_of(0, 35), rows_of(0, 35))
    with contextlib.suppress(KeyboardInterrupt), open_writer(tmp_path / "v") as writer:
        writer.append(names_of(0, 24), rows_of(0, 24))
        assert (writer.committed, len(writer)) == (20, 24)
        assert writer.has("d23")
        raise KeyboardInterrupt
    with pytest.raises(VectorsError, match="unfinished: 20 rows"):
        SparseVectors.open(tmp_path / "v")
    assert len(SparseVectors.open(tmp_path / "v", partial=True)) == 20
    with open_writer(tmp_path / "v") as writer:
        assert writer.committed == 20
        assert writer.has("d19")
        assert not writer.has("d20")
        writer.append(names_of(20, 35), rows_of(20, 35))
    whole, resumed = SparseVectors.open(tmp_path / "whole"), SparseVectors.open(tmp_path / "v")
    assert resumed.digest() == whole.digest()
    assert resumed.fingerprint == whole.fingerprint


def test_running_a_finished_encoding_again_changes_nothing(tmp_path):
    with open_writer(tmp_path / "v") as writer:
        writer.append(names_of(0, 12), rows_of(0, 12))
    before = (tmp_path / "v" / "manifest.json").read_bytes()
    with open_writer(tmp_path / "v") as writer:
        assert all(writer.has(name) for name in names_of(0, 12))
    assert (tmp_path / "v" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": DIM + 1}, "dim 50, not 51"),
        ({"dtype": "float32"}, "dtype 'float16', not 'float32'"),
        ({"meta": {"encoder": "e2"}}, "meta .*e1.* not .*e2"),
    ],
)
def test_another_origin_is_refused(tmp_path, options, message):
    open_writer(tmp_path / "v").close()
    with pytest.raises(VectorsError, match=message):
        open_writer(tmp_path / "v", **options)
    open_writer(tmp_path / "v").close()  # the refusal let the lock go


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"meta": {"a": {1, 2}}}, "meta is not JSON"),
        ({"meta": {"a": float("nan")}}, "meta is not JSON"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(VectorsError, match=message):
        open_writer(tmp_path / "v", **options)


def test_rows_the_store_cannot_hold_are_refused_and_nothing_is_added(tmp_path):
    one = csr_from_rows([([0], [1.0])], DIM)
    with open_writer(tmp_path / "v") as writer:
        writer.append(["a"], one)
        for ids, rows, message in [
            (["a"], one, "the id 'a' was already appended"),
            (["b", "b"], rows_of(0, 2), "the id 'b' was already"),
            (["b", "c"], one, "2 ids for 1 rows"),
            ([""], one, "'' is not an id"),
            ([3], one, "3 is not an id"),
            (["\ud800"], one, "not valid Unicode"),
            (["b"], one._replace(values=np.array([np.nan], np.float32)), "not a finite number"),
            (["b"], one._replace(indices=np.array([DIM], np.int32)), "outside"),
            (
                ["b", "big"],
                csr_from_rows([([0], [65504.0]), ([1], [65520.0])], DIM),
                "65520 of 'big' does not fit float16",
            ),
        ]:
            with pytest.raises(VectorsError, match=message):
                writer.append(ids, rows)
        writer.flush()
        with pytest.raises(VectorsError, match="the id 'a' was already appended"):
            writer.append(["a"], one)
    assert list(SparseVectors.open(tmp_path / "v").ids) == ["a"]
    with pytest.raises(VectorsError, match="is closed"):
        writer.append(["z"], one)


def test_the_largest_half_is_kept_and_what_rounds_to_zero_is_not(tmp_path):
    with open_writer(tmp_path / "v") as writer:
        writer.append(["a"], csr_from_rows([([0, 1, 2], [65504.0, 1e-9, 1.0])], DIM))
    indices, values = SparseVectors.open(tmp_path / "v").gather([0]).row(0)
    assert (indices.tolist(), values.tolist()) == ([0, 2], [65504.0, 1.0])


def test_a_second_writer_is_refused(tmp_path):
    with open_writer(tmp_path / "v"), pytest.raises(VectorsError, match="being written by another process"):
        open_writer(tmp_path / "v")


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(VectorsError, match="holds other files"):
        open_writer(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VectorsError, match="cannot use"):
        open_writer(tmp_path / "file")


def test_remains_of_a_crash_are_swept(tmp_path):
    with open_writer(tmp_path / "v") as writer:
        writer.append(names_of(0, 10), rows_of(0, 10))
    for torn in (".tmp-shard", "shard-000001"):  # killed while writing, and between rename and manifest
        (tmp_path / "v" / torn).mkdir()
        (tmp_path / "v" / torn / "indptr.npy").write_bytes(b"half of it")
    with open_writer(tmp_path / "v") as writer:
        assert writer.committed == 10
        assert not (tmp_path / "v" / ".tmp-shard").exists()
        writer.append(names_of(10, 20), rows_of(10, 20))
    assert len(SparseVectors.open(tmp_path / "v")) == 20


@pytest.mark.parametrize("place", ["shard", "manifest"])
def test_a_full_disk_costs_nothing_that_was_committed(tmp_path, monkeypatch, place):
    real, full = os.fsync, [False]

    def fsync(handle):
        target = Path(f"/proc/self/fd/{handle}").readlink()
        if full[0] and (place in target.name or place in target.parent.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(files_module.os, "fsync", fsync)
    writer = open_writer(tmp_path / "v")
    writer.append(names_of(0, 10), rows_of(0, 10))
    full[0] = True
    with pytest.raises(VectorsError, match=r"no space left.*10 rows are committed and intact"):
        writer.append(names_of(10, 20), rows_of(10, 20))
    assert len(SparseVectors.open(tmp_path / "v", partial=True)) == 10
    with pytest.raises(VectorsError, match="is closed"):
        writer.append(names_of(20, 21), rows_of(20, 21))
    full[0] = False
    with open_writer(tmp_path / "v") as writer:
        assert writer.committed == 10
        writer.append(names_of(10, 20), rows_of(10, 20))
    with open_writer(tmp_path / "whole") as writer:
        writer.append(names_of(0, 20), rows_of(0, 20))
    assert SparseVectors.open(tmp_path / "v").digest() == SparseVectors.open(tmp_path / "whole").digest()


def test_a_real_limit_on_file_size_is_reported(tmp_path):
    script = """
import resource, sys
from distillir.errors import VectorsError
from distillir.vectors import SparseVectorsWriter, csr_from_rows
rows = csr_from_rows([(range(5000), [1.0] * 5000)], 5000)
writer = SparseVectorsWriter(sys.argv[1], 5000, shard_rows=1)
writer.append(["a"], rows)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    writer.append(["b"], rows)
except VectorsError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "v")],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert "no space left" in done.stdout
    assert "1 rows are committed and intact" in done.stdout
    assert list(SparseVectors.open(tmp_path / "v", partial=True).ids) == ["a"]
    assert sorted(p.name for p in (tmp_path / "v").glob("*shard*")) == ["shard-000000"]


VICTIM = """
import sys
import numpy as np
from distillir.vectors import SparseVectorsWriter, csr_from_rows
rng = np.random.default_rng(3)
dense = rng.random((900, 64)).astype(np.float32) * (rng.random((900, 64)) < 0.2)
with SparseVectorsWriter(sys.argv[1], 64, shard_rows=20, meta={"encoder": "x"}) as writer:
    print("ready", writer.committed, flush=True)
    for i in range(900):
        if not writer.has(str(i)):
            (columns,) = np.nonzero(dense[i])
            writer.append([str(i)], csr_from_rows([(columns, dense[i, columns])], 64))
"""


def start_victim(path):
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, env=environment)
    started = process.stdout.readline()
    assert started.startswith(b"ready")
    return process


def kill_and_resume(tmp_path, kills):
    whole = start_victim(tmp_path / "whole")
    start = time.perf_counter()
    assert whole.wait() == 0
    whole.stdout.close()
    seconds = time.perf_counter() - start
    chance = random.Random(5)
    killed = 0
    path = tmp_path / "victim-0"
    for attempt in range(20 * kills):
        if killed == kills:
            break
        process = start_victim(path)
        time.sleep(chance.uniform(0, seconds / 2))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        SparseVectors.open(path, partial=True).verify()
        if SparseVectors.open(path, partial=True).complete:
            path = tmp_path / f"victim-{attempt + 1}"
    assert killed == kills
    last = start_victim(path)
    assert last.wait() == 0
    last.stdout.close()
    resumed = SparseVectors.open(path)
    resumed.verify()
    assert resumed.digest() == SparseVectors.open(tmp_path / "whole").digest()
    assert [p for p in path.iterdir() if p.name.startswith(".tmp")] == []


def test_kill_minus_nine_then_resume_gives_the_same_store(tmp_path):
    kill_and_resume(tmp_path, kills=3)


@pytest.mark.slow
def test_twenty_kills_then_resume_gives_the_same_store(tmp_path):
    kill_and_resume(tmp_path, kills=20)


def test_a_damaged_shard_ends_the_resume_and_lets_the_folder_go(tmp_path):
    with open_writer(tmp_path / "v") as writer:
        writer.append(names_of(0, 10), rows_of(0, 10))
    file = tmp_path / "v" / "shard-000000" / "ids.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(VectorsError, match="bytes instead of"):
        open_writer(tmp_path / "v")
    file.write_bytes(whole)
    with open_writer(tmp_path / "v") as writer:
        assert writer.committed == 10
