"""`distillir train` started by torchrun, for every student: two processes train what one does alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from distillir.data import read_contexts, read_documents, write_run
from distillir.students import resolve

pytestmark = pytest.mark.slow

COMMON = {"corpus": "corpus.jsonl", "train": "train.jsonl", "dev": "dev.jsonl", "max_length": 32}
RERANKER = {
    **COMMON, "student": "reranker", "teacher_run": "teacher.trec", "passage_length": 24,
    "method": {"depth": 4, "stages": [{"objective": {"ranknet": {}}}, {"objective": {"ranknet": {}}}]},
}  # fmt: skip
RECIPES = {
    "sparse": {**COMMON, "engine": "exact", "method": "disco"},
    "collection": {**COMMON, "engine": "exact", "method": "collection"},
    "held": {
        **COMMON, "engine": "exact",
        "method": {"teachers": {"human": 1.0}, "draw": {"top": {"n": 4}}, "sparsity": {"active_dims": 12}},
    },
    "dense": {
        **COMMON, "student": "dense",
        "method": {
            "teachers": {"human": 1.0}, "draw": {"top": {"n": 4}}, "objective": {"kld": {"weight": 1.0, "tau": 0.05}},
        },
    },
    "reranker": RERANKER,
    "language reranker": {**RERANKER, "model": "WRITER", "score": "token", "words": ["eats", "sleeps"]},
    "response": {
        **{name: value for name, value in COMMON.items() if name != "corpus"}, "student": "response",
        "responses": "corpus.jsonl", "method": "pairs", "response_length": 16,
    },
    "generative": {**COMMON, "student": "generative", "model": "WRITER", "beams": 3, "method": "learn"},
}  # fmt: skip


def write(folder: Path, name: str, kind: str, writer: Path, **training: object) -> Path:
    options = {**RECIPES[kind], "out": name, "training": {"max_steps": 3, "epochs": 9, "evaluate_every": 1, **training}}
    options["model"] = str(writer) if options.get("model") == "WRITER" else "sober"
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    return path


def launched(recipe: Path, processes: int, *more: str) -> subprocess.Popen[str]:
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *launch, "-m", "distillir.cli", "train", str(recipe), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(child: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = child.communicate(timeout=200)
    assert child.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def material(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("together") / "data")
    # Two processes draw their dropout otherwise than one.
    shutil.copytree(resolve("splade-tiny"), folder / "sober")
    told = json.loads((folder / "sober" / "config.json").read_text(encoding="utf-8"))
    told |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    (folder / "sober" / "config.json").write_text(json.dumps(told), encoding="utf-8")
    names = [document.id for _, document in read_documents(folder / "corpus.jsonl")]
    contexts = read_contexts(folder / "train.jsonl")
    write_run(folder / "teacher.trec", {c.id: {n: float(-i) for i, n in enumerate(names[:8])} for c in contexts})
    return folder


@pytest.mark.parametrize("kind", RECIPES)
def test_two_processes_train_what_one_does(material, tiny_writer, kind):
    name = kind.replace(" ", "-")
    two = write(material, f"{name}-two", kind, tiny_writer, batch_size=2)
    one = write(material, f"{name}-one", kind, tiny_writer, batch_size=4)
    out, told = ended(launched(two, 2))
    _, alone = ended(launched(one, 1))
    assert out.count("student   ") == 1
    assert told.count(" 2 processes: ") == 1
    losses = [re.findall(r"step (\d+) of 3, .* loss (-?[\d.]+)", text) for text in (told, alone)]
    assert [step for step, _ in losses[0]][-3:] == ["1", "2", "3"]
    for (_, ours), (_, theirs) in zip(*losses, strict=True):
        assert float(ours) == pytest.approx(float(theirs), abs=2e-3)
    record = json.loads((material / f"{name}-two" / "run.json").read_text())
    assert record["training"]["processes"] == 2


def test_a_killed_process_ends_all_with_a_reason_and_the_run_goes_on(material, tiny_writer):
    recipe = write(
        material, "cut", "sparse", tiny_writer, batch_size=2, max_steps=60, epochs=60, checkpoint_every=5,
        evaluate_every=60,
    )  # fmt: skip
    child = launched(recipe, 2)
    deadline = time.monotonic() + 100
    while not list((material / "cut").glob("checkpoints/step-*10")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process_of(child.pid, rank=1), signal.SIGKILL)
    _, err = child.communicate(timeout=100)
    assert child.returncode != 0
    (said,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "process" in said
    assert "the same command goes on from the last checkpoint" in said
    assert not (material / "cut" / "student").exists()
    _, err = ended(launched(recipe, 2))
    first = int(re.search(r"train: step (\d+) of 60", err)[1])
    assert 10 < first <= 60
    assert (material / "cut" / "student").is_dir()


def process_of(launcher: int, rank: int) -> int:
    """The child of a launcher that has a rank."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            return int(child)
    raise AssertionError(f"no process of rank {rank}")
