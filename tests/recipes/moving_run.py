"""Migrations that are killed before every change they make around an engine's own files, each gone on with.

`moving_run.py FOLDER`
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from distillir.data import Corpus
from distillir.index import open_index
from distillir.recipes.migrating import migrate_run
from distillir.recipes.progress import Stages
from distillir.recipes.stages import indexed
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows

DIM = 16
BEFORE = "exact"
AFTER = {"name": "exact"}  # for the mark of an index another engine
CHANGES = {"os.rename", "os.remove", "os.mkdir", "shutil.copyfile"}


def prepare(out: Path) -> tuple[Corpus, SparseVectors]:
    """A run folder with an index of 20 documents and one that was added to it."""
    names = [f"d{i}" for i in range(20)]
    corpus = Corpus.build([{"_id": name, "text": name} for name in names], out / "corpus.arrow")
    with SparseVectorsWriter(out / "corpus.vectors", DIM) as writer:
        writer.append(names, csr_from_rows([([i % DIM], [1.0 + i]) for i in range(20)], DIM))
    documents = SparseVectors.open(out / "corpus.vectors")
    indexed(out, BEFORE, corpus, documents, Stages(quiet=True))
    with open_index(out / "index") as index:
        index.add(["added"], csr_from_rows([([3], [9.0])], DIM))
    return corpus, documents


def count_of(out: Path) -> int:
    with open_index(out / "index") as index:
        return len(index)


def killed(out: Path, step: int) -> bool:
    """Whether a migration met its end at this change to the disk."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == signal.SIGKILL
    left = step

    def end(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event not in CHANGES and (event != "open" or str(arguments[1])[:1] not in ("w", "x")):
            return
        path = Path(str(arguments[0]))
        if path.is_relative_to(out) and "data" not in path.relative_to(out).parts:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(end)
    migrate_run(out, AFTER)
    os._exit(0)


def main(folder: Path) -> None:
    os.fsync = lambda _: None  # what a process has written survives its end, and only a power cut asks for more
    corpus, documents = prepare(folder / "run")
    (folder / "run" / "index" / "served.json").write_text("{}")
    for step in count():
        for again in ("migrate", "index"):
            out = folder / f"{step}-{again}"
            shutil.copytree(folder / "run", out)
            if not killed(out, step):
                assert count_of(out) == 21
                sys.stdout.write(f"{step}\n")
                return
            swapped = not (out / "index.moving").exists() and (out / "index.before").exists()
            if again == "migrate":
                moved = migrate_run(out, AFTER)
                assert (moved.documents, moved.queries) == (21, 21), step
                assert moved.kept.is_dir(), step
            elif not swapped and (out / "index").exists():
                continue  # where the old index still stands, to index for the other engine means to build it
            indexed(out, AFTER, corpus, documents, Stages(quiet=True))
            assert count_of(out) == 21, step
            assert sorted(path.name for path in out.glob("index*")) == ["index", "index.before"], step
            assert not (out / "index" / "moving.json").exists(), step
            shutil.rmtree(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
