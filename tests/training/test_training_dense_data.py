"""Batches of a dense student: what is in them is what the stored vectors say."""

import numpy as np
import pytest
import torch

from distillir.errors import TrainingError
from distillir.objectives import KLD, InfoNCE, MarginMSE, RepresentationMSE, WeightedSum
from distillir.sampling import CandidateSampler, RankedPool, Ranking
from distillir.sampling.draw import DRAWS
from distillir.students.dense_batch import score_dense
from distillir.training import TrainSettings, train
from distillir.training import dense_data as module
from distillir.training.dense_data import DenseData
from distillir.vectors.dense import DenseVectors
from distillir.vectors.dense_writer import DenseVectorsWriter

DIM, DOCUMENTS, CONTEXTS = 24, 30, 9


def unit(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


TEACHER = unit(CONTEXTS, 1)
NAMES = [f"c{i}" for i in range(CONTEXTS)]
GOLDS = [np.array([(7 * i) % DOCUMENTS, (7 * i + 3) % DOCUMENTS], np.int64)[: i % 3] for i in range(CONTEXTS)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> DenseVectors:
    folder = tmp_path_factory.mktemp("documents") / "vectors"
    with DenseVectorsWriter(folder, DIM, "float32", shard_rows=7) as writer:
        writer.append([f"d{i}" for i in range(DOCUMENTS)], unit(DOCUMENTS, 2))
    return DenseVectors.open(folder)


def pool(documents: DenseVectors) -> RankedPool:
    rows, scores = documents.nearest(TEACHER, 14)
    return RankedPool.build((name, Ranking(r, s)) for name, r, s in zip(NAMES, rows, scores, strict=True))


def data(documents: DenseVectors, *, sampled: bool = True, **options) -> DenseData:
    draw = DRAWS["log_uniform"](n=4, first=1, last=13)
    sampler = CandidateSampler(pool(documents), draw, seed=3) if sampled else None
    given = {"names": NAMES, "ids": [list(range(2, 4 + i)) for i in range(CONTEXTS)], "teacher": TEACHER}
    return DenseData(**{**given, "documents": documents, "sampler": sampler, "golds": GOLDS, "pad_id": 0, **options})


def test_scores_golds_and_the_shared_block_are_the_brute_force_ones(documents):
    made = data(documents)
    chosen = [5, 1, 6, 2]
    batch = made.collate(chosen, 0)
    lists = [made.sampler(NAMES[i], GOLDS[i], 0) for i in chosen]
    stored = documents.gather(range(DOCUMENTS))
    students = torch.randn(4, DIM)
    output = score_dense(students, batch)
    drawn = np.concatenate([one.positions[~one.is_gold] for one in lists])
    shared = np.setdiff1d(drawn, np.concatenate([GOLDS[i] for i in chosen]))
    assert batch.names == ("c5", "c1", "c6", "c2")
    assert len(batch) == 4
    for b, (i, one) in enumerate(zip(chosen, lists, strict=True)):
        n = len(one)
        assert output.mask[b].tolist() == [True] * n + [False] * (batch.candidates.shape[1] - n)
        np.testing.assert_allclose(batch.targets.scores[b, :n], stored[one.positions] @ TEACHER[i], rtol=1e-5)
        np.testing.assert_allclose(output.scores[b, :n], stored[one.positions] @ students[b].numpy(), rtol=1e-4)
        np.testing.assert_allclose(output.shared[b], stored[shared] @ students[b].numpy(), rtol=1e-4)
        assert output.shared_mask[b].tolist() == [d not in {*one.positions, *GOLDS[i]} for d in shared]
        assert batch.targets.gold[b, :n].tolist() == [d in GOLDS[i] for d in one.positions]
        assert not batch.targets.gold[b, n:].any()
        np.testing.assert_array_equal(batch.targets.vectors[b], TEACHER[i])
        assert batch.ids[b][batch.mask[b]].tolist() == made.ids[i]
    assert batch.targets.gold.any()
    assert not batch.targets.gold.any(1).all()  # one of the contexts has no gold


def test_a_batch_is_a_function_of_its_arguments(documents):
    one, two = data(documents), data(documents)
    first = one.collate([3, 4, 5], 1)
    one.collate([0, 1], 0)
    again = two.collate([3, 4, 5], 1)
    for name in ("ids", "candidates", "documents", "shared", "shared_mask"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert torch.equal(first.targets.scores, again.targets.scores)
    other = one.collate([3, 4, 5], 2)
    assert other.targets.scores.shape != first.targets.scores.shape or not torch.equal(
        other.targets.scores, first.targets.scores
    )


def test_without_a_shared_block(documents):
    output = score_dense(torch.rand(2, DIM), data(documents, shared=False).collate([0, 1], 0))
    assert output.shared is None
    assert output.shared_mask is None


def test_the_whole_collection_is_a_list_of_everything(documents):
    batch = data(documents, sampled=False).collate([2, 0], 0)
    every = torch.from_numpy(documents.gather(range(DOCUMENTS)))
    output = score_dense(batch.targets.vectors, batch)
    assert output.scores.shape == (2, DOCUMENTS)
    torch.testing.assert_close(batch.targets.scores, torch.from_numpy(TEACHER[[2, 0]]) @ every.t())
    assert output.mask.all()
    assert output.shared is None
    assert batch.targets.gold[0].nonzero().flatten().tolist() == sorted(GOLDS[2].tolist())
    assert not batch.targets.gold[1].any()
    torch.testing.assert_close(KLD(tau=0.05)(output, batch.targets), torch.tensor(0.0), atol=1e-6, rtol=0)


class Student(torch.nn.Module):
    """One vector for each token, averaged."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(16, DIM)

    def forward(self, batch):
        return score_dense(torch.nn.functional.normalize((self.table(batch.ids) * batch.mask[..., None]).sum(1)), batch)


@pytest.mark.parametrize(
    ("objective", "sampled"),
    [
        (WeightedSum(((0.9, KLD(tau=0.1)), (0.1, InfoNCE(tau=0.1)))), True),
        (RepresentationMSE(), True),
        (MarginMSE(), True),
        (KLD(tau=0.1), False),
    ],
)
def test_every_kind_of_objective_trains_a_student_in_the_one_loop(documents, objective, sampled):
    ticks = []
    settings = TrainSettings(batch_size=3, epochs=40, lr=0.1)
    train(Student(), data(documents, sampled=sampled), objective, settings, watch=ticks.append)
    assert ticks[-1].loss < 0.7 * ticks[2].loss
    assert ticks[-1].active is None  # dense vectors have no count of active dimensions


def test_what_does_not_belong_together_is_refused(documents, monkeypatch):
    with pytest.raises(TrainingError, match="9 contexts, 9 token lists, 9 teacher vectors and 8 gold lists"):
        data(documents, golds=GOLDS[:8])
    with pytest.raises(TrainingError, match="documents have 24 dimensions, the teacher's vectors 7"):
        data(documents, teacher=TEACHER[:, :7])
    monkeypatch.setattr(module, "WHOLE", 100)
    with pytest.raises(TrainingError, match="30 documents are too many"):
        data(documents, sampled=False)
