"""Batches of a sparse student: what is in them is what the stored vectors say."""

import numpy as np
import pytest
import torch

from distillir.errors import TrainingError
from distillir.labels import FusionPlan
from distillir.objectives import KLD, FullCollectionKLD, InfoNCE, WeightedSum
from distillir.sampling import CandidateSampler, RankedPool, Ranking
from distillir.sampling.draw import DRAWS
from distillir.students.batch import score_documents
from distillir.training import SparseData, TrainSettings, train
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows

DIM, DOCUMENTS, CONTEXTS = 20, 30, 9


def rows(count: int, seed: int):
    rng = np.random.default_rng(seed)
    picked = [rng.choice(DIM, size=rng.integers(1, 7), replace=False) for _ in range(count)]
    return csr_from_rows([(d, rng.random(len(d)).astype(np.float32) + 0.1) for d in picked], DIM)


def as_dense(csr) -> np.ndarray:
    out = np.zeros((csr.rows, DIM), np.float32)
    for i in range(csr.rows):
        indices, values = csr.row(i)
        out[i, indices] = values
    return out


TEACHER = rows(CONTEXTS, 1)
STORED = rows(DOCUMENTS, 2)
NAMES = [f"c{i}" for i in range(CONTEXTS)]
GOLDS = [np.array([(7 * i) % DOCUMENTS, (7 * i + 3) % DOCUMENTS], np.int64)[: i % 3] for i in range(CONTEXTS)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> SparseVectors:
    folder = tmp_path_factory.mktemp("documents") / "vectors"
    with SparseVectorsWriter(folder, DIM, "float32", shard_rows=7) as writer:
        writer.append([f"d{i}" for i in range(DOCUMENTS)], STORED)
    return SparseVectors.open(folder)


def pool() -> RankedPool:
    scores = as_dense(TEACHER) @ as_dense(STORED).T
    rankings = []
    for name, row in zip(NAMES, scores, strict=True):
        best = np.argsort(-row, kind="stable")[: 5 + len(rankings)]
        rankings.append((name, Ranking(best.astype(np.int64), row[best].astype(np.float32))))
    return RankedPool.build(rankings)


def data(documents: SparseVectors, *, draw: object = None, sampled: bool = True, **options) -> SparseData:
    draw = draw or DRAWS["log_uniform"](n=4, first=1, last=13)
    sampler = CandidateSampler(pool(), draw, seed=3) if sampled else None
    return SparseData(
        **{
            "names": NAMES,
            "ids": [list(range(2, 4 + i)) for i in range(CONTEXTS)],
            "teacher": TEACHER,
            "documents": documents,
            "sampler": sampler,
            "golds": GOLDS,
            "pad_id": 0,
            "dim": DIM,
            **options,
        }
    )


def test_scores_golds_and_the_shared_block_are_the_brute_force_ones(documents):
    made = data(documents)
    chosen = [5, 1, 6, 2]
    batch = made.collate(chosen, 0)
    lists = [made.sampler(NAMES[i], GOLDS[i], 0) for i in chosen]
    teacher, dense = as_dense(TEACHER), as_dense(STORED)
    students = torch.rand(4, DIM)
    output = score_documents(students, batch)
    drawn = np.concatenate([one.positions[~one.is_gold] for one in lists])
    shared = np.setdiff1d(drawn, np.concatenate([GOLDS[i] for i in chosen]))
    assert batch.names == ("c5", "c1", "c6", "c2")
    for b, (i, one) in enumerate(zip(chosen, lists, strict=True)):
        n = len(one)
        assert output.mask[b].tolist() == [True] * n + [False] * (batch.candidates.shape[1] - n)
        np.testing.assert_allclose(batch.targets.scores[b, :n], dense[one.positions] @ teacher[i], rtol=1e-6)
        np.testing.assert_allclose(output.scores[b, :n], dense[one.positions] @ students[b].numpy(), rtol=1e-6)
        np.testing.assert_allclose(output.shared[b], dense[shared] @ students[b].numpy(), rtol=1e-6, atol=1e-7)
        assert output.shared_mask[b].tolist() == [d not in {*one.positions, *GOLDS[i]} for d in shared]
        assert batch.targets.gold[b, :n].tolist() == [d in GOLDS[i] for d in one.positions]
        assert not batch.targets.gold[b, n:].any()
        np.testing.assert_array_equal(batch.targets.vectors[b], teacher[i])
        assert batch.ids[b][batch.mask[b]].tolist() == made.ids[i]
    assert batch.ids[~batch.mask].unique().tolist() == [0]
    assert batch.targets.gold.any()
    assert not batch.targets.gold.any(1).all()  # one of the contexts has no gold


def test_a_batch_is_a_function_of_its_arguments(documents):
    one, two = data(documents), data(documents)
    first = one.collate([3, 4, 5], 1)
    one.collate([0, 1], 0)
    again = two.collate([3, 4, 5], 1)
    for name in ("ids", "candidates", "shared", "shared_mask"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert torch.equal(first.targets.scores, again.targets.scores)
    other = one.collate([3, 4, 5], 2)
    assert not (
        other.candidates.shape == first.candidates.shape and torch.equal(other.targets.scores, first.targets.scores)
    )


def test_without_a_shared_block(documents):
    batch = data(documents, shared=False).collate([0, 1], 0)
    output = score_documents(torch.rand(2, DIM), batch)
    assert output.shared is None
    assert output.shared_mask is None


def test_a_rule_changes_real_scores_alone(documents):
    made = data(documents, rule=lambda scores, candidates, ranking: scores + ranking.scores[0])
    plain = data(documents)
    before, after = plain.collate([0, 8], 0), made.collate([0, 8], 0)
    for b, i in enumerate([0, 8]):
        n = int((after.candidates[b] >= 0).sum())
        added = made.sampler.pool[NAMES[i]].scores[0]
        np.testing.assert_allclose(after.targets.scores[b, :n], before.targets.scores[b, :n] + added, rtol=1e-6)
        assert torch.equal(after.targets.scores[b, n:], before.targets.scores[b, n:])


class Student(torch.nn.Module):
    """One vector for each token, summed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(16, DIM)

    def forward(self, batch):
        vectors = torch.log1p(torch.relu((self.table(batch.ids) * batch.mask[..., None]).mean(1)))
        return score_documents(vectors, batch)


def test_lists_train_a_student(documents):
    ticks = []
    objective = WeightedSum(((0.9, KLD()), (0.1, InfoNCE())))
    settings = TrainSettings(batch_size=3, epochs=40, lr=0.1)
    train(Student(), data(documents), objective, settings, watch=ticks.append)
    assert ticks[-1].loss < 0.9 * ticks[2].loss


def test_the_whole_collection_trains_a_student_without_lists(documents):
    made = data(documents, sampled=False)
    batch = made.collate([0, 1, 2], 0)
    assert batch.candidates.shape == (3, 0)
    assert batch.targets.scores is None
    assert len(batch.shared) == 0
    ticks = []
    objective = FullCollectionKLD(shards=(documents.invert(),), effective_documents=4.0)
    train(Student(), made, objective, TrainSettings(batch_size=3, epochs=25, lr=0.1), watch=ticks.append)
    assert ticks[-1].loss < 0.8 * ticks[2].loss


def test_what_does_not_belong_together_is_refused(documents):
    with pytest.raises(TrainingError, match="9 contexts, 9 token lists, 9 teacher vectors and 8 gold lists"):
        data(documents, golds=GOLDS[:8])
    with pytest.raises(TrainingError, match="documents have 20 dimensions, the student 21"):
        data(documents, dim=21)


@pytest.mark.parametrize(("rule", "combine"), [("max", np.fmax), ("min", np.fmin)])
def test_members_score_the_lists_by_the_plan(documents, rule, combine):
    other = rows(CONTEXTS, 4)
    nothing = (np.empty(0, np.int32), np.empty(0, np.float32))
    lacking = csr_from_rows([nothing if i == 5 else other.row(i) for i in range(CONTEXTS)], DIM)
    made = data(documents, members=(TEACHER, lacking), plan=FusionPlan({"a": 1.0, "b": 1.0}, rule))
    chosen = [5, 1, 6]
    batch = made.collate(chosen, 0)
    theirs = as_dense(lacking) @ as_dense(STORED).T
    theirs[5] = np.nan  # has no label: it is not heard
    expected = combine(as_dense(TEACHER) @ as_dense(STORED).T, theirs)
    for b, i in enumerate(chosen):
        drawn = made.sampler(NAMES[i], GOLDS[i], 0)
        found = batch.targets.scores[b, : len(drawn)].numpy()
        np.testing.assert_allclose(found, expected[i, drawn.positions], rtol=1e-6)


def test_members_need_a_plan_of_as_many_teachers(documents):
    with pytest.raises(TrainingError, match="2 teachers' vectors"):
        data(documents, members=(TEACHER, TEACHER), plan=FusionPlan({"a": 1.0}, "max"))
    with pytest.raises(TrainingError, match="give the plan's teachers"):
        data(documents, members=(TEACHER,))
