"""A sparsity target counted on contexts of its own: what is counted, how often, and that a run that was cut goes on."""

import pytest
import ranks_run
import torch
from torch import nn

from distillir.objectives import KLD
from distillir.sparsity import SparsityControl, active_dimensions, l1
from distillir.training import TrainSettings, train
from distillir.training.landing import LANDING_EVERY, PROBE_EVERY, Landing
from distillir.training.state import Progress

PROBED = torch.tensor([[1, 2, 3], [4, 5, 6]])


class Halted(Exception):
    pass


def run(
    folder,
    *,
    steps: int,
    stop: int = 0,
    keep: bool = False,
    dropout: float = 0.5,
    lr: float = 0.02,
    target: float = 3.0,
):
    student = ranks_run.Student(dropout, seed=5)
    control = SparsityControl(l1, active_dimensions, 3.0, start=-3.0)
    counted = []

    def probe():
        with torch.no_grad():
            was = student.training
            student.eval()
            vectors = torch.log1p(torch.relu(student.up(student.table(PROBED).mean(1))))
            student.train(was)
        counted.append(float((vectors > 0).sum(1).double().mean()))
        return vectors, None

    def watch(tick):
        if tick.step == stop:
            raise Halted

    result = train(
        student,
        ranks_run.data(folder),
        KLD(),
        TrainSettings(batch_size=8, lr=0.02, epochs=50, max_steps=steps, checkpoint_every=4),
        control=control,
        probe=probe,
        folder=folder / "checkpoints" if keep else None,
        watch=watch,
    )
    return student, result, counted


@pytest.fixture
def folder(tmp_path):
    ranks_run.write_documents(tmp_path)
    return tmp_path


def test_the_probe_is_what_is_counted_every_few_steps_and_oftener_at_the_end(folder):
    _, result, counted = run(folder, steps=40)
    early = [step for step in range(1, 41) if step % PROBE_EVERY == 0 and step <= 30]
    assert len(counted) == len(early) + (40 - 30) // LANDING_EVERY + 1  # and once more of what it ends with
    assert result.steered["control"]["all"]["count"] == pytest.approx(counted[-1])


def test_the_weights_nearest_to_the_target_are_kept():
    control = SparsityControl(l1, active_dimensions, 4.0, start=-3.0)
    counts = {35: 9, 36: 7, 38: 3, 40: 6}  # of step 5 on: further off, further off, nearest, further off
    student, progress = nn.Linear(1, 1, bias=False), Progress()

    def probe():
        return torch.ones(2, counts.get(progress.step, 4)), None

    landing, kept = Landing(control, probe), None
    for step in range(1, 41):
        progress.step = step
        nn.init.constant_(student.weight, step)
        kept = landing.after(progress, 1.0 if step <= 30 else 0.1, student, step == 40) or kept
    assert progress.landed_step == 34  # at the target
    progress.missed = None
    for step in (35, 36, 38, 40):
        progress.step, progress.probed = step, 0
        nn.init.constant_(student.weight, step)
        kept = landing.after(progress, 0.1, student, False) or kept
    assert kept["weight"].item() == progress.landed_step == 38
    landing.settle()
    assert control.counts == {1: 6.0}  # of the last step here: what it is asked of is what it counts


def test_a_run_ends_with_the_weights_that_were_kept(folder):
    student, result, counted = run(folder, steps=40)
    assert 30 < result.kept_step <= 40
    with torch.no_grad():
        vectors = torch.log1p(torch.relu(student.up(student.table(PROBED).mean(1))))
    assert float((vectors > 0).sum(1).double().mean()) == counted[-1]


def test_a_run_that_was_cut_counts_as_one_that_was_not(folder):
    whole, result, _ = run(folder, steps=23)
    with pytest.raises(Halted):
        run(folder, steps=23, stop=14, keep=True)
    again, ended, _ = run(folder, steps=23, keep=True)
    assert ended.steered == result.steered
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
