"""Batches of a reranker: pairs, orders and scores where they belong; a training that learns the order."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distillir.errors import ObjectiveError, TrainingError
from distillir.objectives import ADRMSE, InfoNCE, PointwiseMSE, RankNet, WeightedSum
from distillir.objectives.contract import Output
from distillir.rendering import RenderSettings
from distillir.sampling import CandidateSampler, RankedPool, Ranking
from distillir.sampling.draw import DRAWS
from distillir.students.reranker_batch import Pair, RerankBatch
from distillir.students.reranker_pairs import PairReader
from distillir.training import TrainSettings, train
from distillir.training.rerank_data import RerankData

CONTEXTS, DOCUMENTS, DEPTH = 6, 30, 8
NAMES = [f"c{i}" for i in range(CONTEXTS)]
GOLDS = [np.array([3 * i], np.int64)[: i % 2] for i in range(CONTEXTS)]
RNG = np.random.default_rng(4)
LISTS = [RNG.permutation(DOCUMENTS)[:DEPTH].astype(np.int64) for _ in NAMES]


class Numbers(PairReader):
    """A passage is its number, repeated as often as its last digit says."""

    def __init__(self) -> None:
        self.tokenizer = None
        self.settings = RenderSettings()

    pad_id = 0
    longest = 16

    def query(self, conversation):
        raise NotImplementedError

    def passage(self, text):
        return (int(text) + 1,) * (1 + int(text) % 10)

    def join(self, query, passage):
        return Pair((*query, *passage), len(query))


class Texts:
    def text(self, i: int) -> str:
        return str(i)


class Table(nn.Module):
    """A score for every context (its first token, from 40 on) and document (its last token)."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(CONTEXTS, DOCUMENTS + 1))

    def forward(self, batch: RerankBatch) -> Output:
        every = torch.cat([self.of(chunk.ids, chunk.mask) for chunk in batch.chunks])
        return Output(every[batch.candidates.clamp(min=0)], batch.candidates >= 0)

    def of(self, ids: Tensor, mask: Tensor) -> Tensor:
        last = ids.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]
        return self.table[ids[:, 0] - 40, last]


def data(*, draw=None, gold: str = "none", **options) -> RerankData:
    pool = RankedPool.build(
        (name, Ranking(positions, -np.arange(DEPTH, dtype=np.float32)))
        for name, positions in zip(NAMES, LISTS, strict=True)
    )
    orders = [{int(p): rank for rank, p in enumerate(positions[::-1])} for positions in LISTS]
    given = {
        "names": NAMES,
        "queries": [(40 + i,) for i in range(CONTEXTS)],
        "passages": Texts(),
        "sampler": CandidateSampler(pool, draw or DRAWS["all"](), seed=3, gold=gold),
        "golds": GOLDS,
        "labels": orders,
        "reader": Numbers(),
    }
    return RerankData(**{**given, **options})


def tokens(batch: RerankBatch, row: int, column: int) -> list[int]:
    flat = [ids[mask].tolist() for chunk in batch.chunks for ids, mask in zip(chunk.ids, chunk.mask, strict=True)]
    return flat[int(batch.candidates[row, column])]


@pytest.mark.parametrize("budget", [24, 10_000])
def test_every_candidate_has_its_own_pair_and_rank_however_it_is_chunked(budget):
    made = data(draw=DRAWS["top"](n=5), budget=budget)
    batch = made.collate([4, 1], 0)
    assert batch.candidates.shape == (2, 5)
    assert batch.names == ("c4", "c1")
    for row, context in enumerate([4, 1]):
        for column, position in enumerate(LISTS[context][:5]):
            reader = made.reader
            assert tokens(batch, row, column) == list(reader.join((40 + context,), reader.passage(str(position))).ids)
            assert batch.targets.order[row, column] == DEPTH - 1 - column
    assert batch.targets.scores is None
    assert all(chunk.ids.numel() <= budget for chunk in batch.chunks)


def test_unlabelled_candidates_stay_in_an_order_and_leave_a_list_of_scores():
    labels = [{int(p): float(j) for j, p in enumerate(positions[:3])} for positions in LISTS]
    labels[1] = {}
    ordered = data(labels=labels).collate([0, 1], 0)
    assert (ordered.candidates >= 0).sum(1).tolist() == [DEPTH, DEPTH]
    assert (ordered.targets.order >= 0).sum(1).tolist() == [3, 0]
    for options in ({"kind": "scores"}, {"rule": "linear"}):
        scored = data(labels=labels, **options).collate([0, 1], 0)
        assert (scored.candidates >= 0).sum(1).tolist() == [3, 0]
        assert scored.targets.scores[0].isfinite().all()
    assert scored.targets.scores[0].tolist() == [1, 0.5, 0]
    with pytest.raises(TrainingError, match="no candidate of context 'c1' has a label"):
        data(labels=labels, kind="scores").collate([1], 0)


def test_golds_come_first_and_serve_a_contrastive_stage_without_a_teacher():
    batch = data(gold="one", labels=None).collate([0, 1], 0)
    assert batch.targets.provides() == {"gold"}
    assert batch.targets.gold.sum(1).tolist() == [0, 1]
    assert batch.targets.gold[1, 0]
    with pytest.raises(ObjectiveError, match="reads order but the labels give only gold"):
        train(Table(), data(labels=None), RankNet(), TrainSettings())


def test_pairs_of_objective_and_labels_that_do_not_fit_are_refused_before_step_0():
    with pytest.raises(ObjectiveError, match="reads scores but the labels give only gold, order"):
        train(Table(), data(), PointwiseMSE(), TrainSettings())
    with pytest.raises(TrainingError, match="these are scores"):
        data(kind="scores", rule="linear")
    with pytest.raises(TrainingError, match="6 contexts, 6 token lists, 5 gold lists"):
        data(golds=GOLDS[1:])


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (RankNet(), {}),
        (ADRMSE(), {}),
        (PointwiseMSE(), {"rule": "negative_rank"}),
        (WeightedSum(((0.1, InfoNCE()), (1.0, RankNet()))), {"gold": "all"}),
    ],
)
def test_the_loop_learns_the_teachers_order(objective, options):
    student = Table()
    settings = TrainSettings(epochs=150, batch_size=3, lr=0.1)
    train(student, data(draw=DRAWS["top"](n=6), budget=30, **options), objective, settings)
    for context, positions in enumerate(LISTS):
        gold = [] if "gold" not in options else GOLDS[context].tolist()
        negatives = [int(p) for p in positions[:6] if p not in gold]
        learnt = student.table[context, torch.tensor(negatives) + 1].tolist()
        assert learnt == sorted(learnt)  # the teacher turns the retriever's order round


def test_draws_follow_the_epoch_and_nothing_else():
    made = data(draw=DRAWS["log_uniform"](n=3, first=1, last=DEPTH))
    first, again, later = made.collate([2, 3], 0), made.collate([2, 3], 0), made.collate([2, 3], 1)
    torch.testing.assert_close(first.targets.order, again.targets.order)
    assert not torch.equal(first.targets.order, later.targets.order)
    torch.testing.assert_close(first.targets.order[1], made.collate([3], 0).targets.order[0])


def test_a_batch_in_parts_scores_and_learns_as_the_whole():
    """TWOLAR accumulates single queries: what is learnt must not depend on how a batch is cut."""
    torch.manual_seed(0)
    start = torch.rand(CONTEXTS, DOCUMENTS + 1)
    made = data(labels=[{int(p): float(r) for r, p in enumerate(listed)} for listed in LISTS], gold="one")
    batch = made.collate([4, 1, 3], 0)
    table = Table()
    table.table.data.copy_(start)
    whole = table(batch)
    for first, last in ((0, 1), (1, 3)):
        part = batch.part(first, last)
        output = table(part)
        kept = whole.mask[first:last]
        assert torch.equal(output.mask, kept)
        assert torch.equal(output.scores[kept], whole.scores[first:last][kept])
        assert sum(map(len, part.chunks)) == int(kept.sum())
    ends = []
    for size, accumulate in ((3, 1), (1, 3)):
        student = Table()
        student.table.data.copy_(start)
        train(student, made, RankNet(), TrainSettings(epochs=2, batch_size=size, accumulate=accumulate, lr=0.1))
        ends.append(student.table.detach())
    torch.testing.assert_close(ends[0], ends[1])
