"""Checkpoints: a run that was killed ends as one that was not."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import crash_run
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from distillir.errors import TrainingError
from distillir.training import TrainSettings, train
from distillir.training.state import Progress, checkpoints, resume, save_state


class Stop(Exception):
    """Raised at a step to cut a run there."""


def cut_at(step: int, folder: Path, **options) -> None:
    def watch(tick):
        if tick.step == step:
            raise Stop

    settings = {"batch_size": 4, "accumulate": 2, "lr": 0.01, "checkpoint_every": 2, "evaluate_every": 5, "warmup": 0.2}
    settings = TrainSettings(**{**settings, "epochs": 6, **options})
    with pytest.raises(Stop):
        train(
            crash_run.Student(), crash_run.Data(), crash_run.RankNet(), settings,
            evaluate=crash_run.figure, folder=folder, watch=watch,
        )  # fmt: skip


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def after_kills(tmp_path: Path, kills: int, epochs: int, seed: int) -> None:
    arguments = [str(tmp_path / "run"), str(kills), str(epochs), str(seed), str(tmp_path / "end.safetensors")]
    done = subprocess.run(
        [sys.executable, crash_run.__file__, *arguments], check=False, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == kills  # each of them met a run in progress
    student, result = crash_run.run(None, epochs=epochs)
    assert same(load_file(tmp_path / "end.safetensors"), crash_run.weights(student))
    again, told = crash_run.run(tmp_path / "run", epochs=epochs)
    assert same(crash_run.weights(again), crash_run.weights(student))
    assert (told.history, told.best, told.best_step) == (result.history, result.best, result.best_step)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [p.name for p in checkpoints(tmp_path / "run")]


def test_three_kills_change_nothing(tmp_path):
    after_kills(tmp_path, kills=3, epochs=20, seed=1)


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    after_kills(tmp_path, kills=20, epochs=120, seed=2)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 17])
def test_a_cut_at_any_step_changes_nothing(step, tmp_path):
    """23 contexts, batches of 4, two a step: an epoch has three steps, so checkpoints fall on and beside its end."""
    expected, result = crash_run.run(None)
    cut_at(step, tmp_path)
    seen = []
    student = crash_run.Student()
    settings = TrainSettings(
        batch_size=4, accumulate=2, lr=0.01, checkpoint_every=2, evaluate_every=5, warmup=0.2, epochs=6
    )
    told = train(
        student, crash_run.Data(), crash_run.RankNet(), settings,
        evaluate=crash_run.figure, folder=tmp_path, watch=lambda t: seen.append(t.step),
    )  # fmt: skip
    assert same(crash_run.weights(student), crash_run.weights(expected))
    assert told.history == result.history
    assert seen == list(range((step - 1) // 2 * 2 + 1, 19))  # from the last checkpoint on, each step once


def test_a_checkpoint_on_the_last_batch_of_an_epoch_goes_on_with_the_next(tmp_path):
    expected, _ = crash_run.run(None)
    cut_at(4, tmp_path, checkpoint_every=3)  # an epoch's length
    record = json.loads((checkpoints(tmp_path)[-1] / "progress.json").read_text())
    progress = Progress(**record["progress"])
    assert (progress.step, progress.epoch, progress.batch) == (3, 0, 3)
    student, result = crash_run.run(tmp_path, checkpoint_every=3)
    assert result.steps == 18
    assert same(crash_run.weights(student), crash_run.weights(expected))


def test_a_finished_run_returns_at_once_with_its_weights(tmp_path):
    student, result = crash_run.run(tmp_path, checkpoint_every=4)  # 18 steps: the end is no multiple
    assert result.best_step != 18  # so the best weights are not the last ones
    ticks = []
    again = crash_run.Student()
    settings = TrainSettings(batch_size=4, accumulate=2, lr=0.01, evaluate_every=5, warmup=0.2, epochs=6)
    told = train(
        again, crash_run.Data(), crash_run.RankNet(), settings,
        evaluate=crash_run.figure, folder=tmp_path, watch=ticks.append,
    )  # fmt: skip
    assert ticks == []
    assert same(crash_run.weights(again), crash_run.weights(student))
    assert told == result
    assert not again.training


def test_an_early_stop_stays_stopped(tmp_path):
    student, result = crash_run.run(tmp_path, evaluate_every=1, patience=2, checkpoint_every=100)
    assert result.stopped
    assert result.steps < 18
    again, told = crash_run.run(tmp_path, evaluate_every=1, patience=2, checkpoint_every=100)
    assert told == result
    assert same(crash_run.weights(again), crash_run.weights(student))


def test_the_loss_scale_of_fp16_is_part_of_a_checkpoint(tmp_path):
    expected, _ = crash_run.run(None, precision="fp16")
    cut_at(7, tmp_path, precision="fp16")
    student, _ = crash_run.run(tmp_path, precision="fp16")
    assert same(crash_run.weights(student), crash_run.weights(expected))


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("model", "truncate"),
        ("optimizer", "flip"),
        ("best", "remove"),
        ("progress", "truncate"),
        ("progress", "flip"),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(file, harm, tmp_path, caplog):
    expected, _ = crash_run.run(None)
    cut_at(11, tmp_path)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000008", "step-00000010"]
    path = next((tmp_path / "step-00000010").glob(f"{file}.*"))
    data = bytearray(path.read_bytes())
    if harm == "truncate":
        path.write_bytes(data[: len(data) // 2])
    if harm == "flip":
        data[-20 if file != "progress" else 0] ^= 1
        path.write_bytes(data)
    if harm == "remove":
        path.unlink()
    student, _ = crash_run.run(tmp_path)
    assert "step-00000010 is damaged" in caplog.text
    assert same(crash_run.weights(student), crash_run.weights(expected))


def test_no_whole_checkpoint_is_an_error(tmp_path):
    cut_at(5, tmp_path)
    for checkpoint in checkpoints(tmp_path):
        (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"is whole.*model\.safetensors has changed.*start anew"):
        crash_run.run(tmp_path)


@pytest.mark.parametrize(
    ("options", "cause"),
    [({"lr": 0.02}, "lr: 0.01 → 0.02"), ({"batch_size": 3}, "batch_size: 4 → 3"), ({"seed": 1}, "seed: 13 → 1")],
)
def test_a_checkpoint_of_another_run_is_refused(options, cause, tmp_path):
    cut_at(5, tmp_path)
    with pytest.raises(TrainingError, match=f"belongs to another run \\({cause}\\)"):
        crash_run.run(tmp_path, **options)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    def optimizer(model):
        return torch.optim.AdamW(model.parameters())

    one, two = nn.Linear(2, 2), nn.Linear(2, 3)
    save_state(tmp_path, one, optimizer(one), Progress(step=1), None, {})
    with pytest.raises(TrainingError, match="of another model: bias, weight differ"):
        resume(tmp_path, two, optimizer(two), {})


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    expected, _ = crash_run.run(None)
    cut_at(5, tmp_path)
    names = [p.name for p in tmp_path.iterdir()]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # of a file, the way the system says a disk is full
    try:
        with pytest.raises(TrainingError, match=r"cannot write .*step-00000006.*run again"):
            crash_run.run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    student, _ = crash_run.run(tmp_path)
    assert same(crash_run.weights(student), crash_run.weights(expected))


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    cut_at(5, tmp_path)
    shutil.copytree(tmp_path / "step-00000004", tmp_path / "step-00000006.partial")
    (tmp_path / "step-00000006.partial" / "model.safetensors").write_bytes(b"half")
    shutil.copytree(tmp_path / "step-00000004", tmp_path / "step-00000002.old")
    expected, _ = crash_run.run(None)
    student, _ = crash_run.run(tmp_path)
    assert same(crash_run.weights(student), crash_run.weights(expected))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000016", "step-00000018"]
