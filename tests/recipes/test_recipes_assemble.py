"""What the presets put together, against the published procedure written out in plain torch."""

import numpy as np
import pytest
import torch

from distillir.errors import ConfigError, DistillirError
from distillir.recipes.assemble import (
    build_control,
    build_objective,
    build_penalties,
    build_rule,
    build_sampler,
    check_method,
    rank_11,
)
from distillir.recipes.method import Method, preset, presets
from distillir.sampling import Candidates, RankedPool, Ranking
from distillir.students.batch import score_documents
from distillir.training import SparseData
from distillir.vectors import SparseVectors, SparseVectorsWriter, csr_from_rows

DOCUMENTS, DIM = 1200, 48


def falling(n: int) -> Ranking:
    """Document i at rank i + 1 with the score 2000 − rank."""
    return Ranking(np.arange(n), (2000 - np.arange(1, n + 1)).astype(np.float32))


def listed(ranks: list[int], gold: list[bool]) -> Candidates:
    positions = np.arange(len(ranks))
    return Candidates(positions, np.array(gold), np.array(ranks), positions[np.array(gold)])


@pytest.mark.parametrize(
    ("rank", "score"),
    [
        (3, 1989),  # clipped to rank 11's
        (10, 1989),
        (11, 1989),  # its own
        (12, 1988),
        (500, 1500),
        (960, 1040),
        (961, 1989),
        (0, 1989),  # missing: lifted
    ],
)
def test_a_gold_outside_11_to_960_gets_the_score_of_rank_11(rank, score):
    true = np.array([2000 - rank if rank else 7, 1997, 1500], np.float32)
    ruled = rank_11(true, listed([rank, 3, 500], [True, False, False]), falling(1000))
    assert ruled.tolist() == [score, 1997, 1500]  # negatives keep theirs, wherever they are ranked
    assert ruled.dtype == np.float32


def test_a_ranking_without_a_rank_11_lends_its_last_score():
    ruled = rank_11(np.array([1999, 1996], np.float32), listed([1, 4], [True, False]), falling(5))
    assert ruled.tolist() == [1995, 1996]


def test_an_empty_ranking_leaves_scores_alone():
    assert rank_11(np.array([4], np.float32), listed([0], [True]), falling(0)).tolist() == [4]


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> SparseVectors:
    rng = np.random.default_rng(5)
    dense = rng.gamma(1.0, 1.0, (DOCUMENTS, DIM)) * (rng.random((DOCUMENTS, DIM)) < 0.6)
    rows = csr_from_rows([(row.nonzero()[0], row[row.nonzero()[0]].astype(np.float32)) for row in dense], DIM)
    folder = tmp_path_factory.mktemp("vectors") / "documents"
    with SparseVectorsWriter(folder, DIM, "float32") as writer:
        writer.append([f"d{i}" for i in range(DOCUMENTS)], rows)
    return SparseVectors.open(folder)


@pytest.fixture(scope="module")
def dense(documents) -> torch.Tensor:
    out = torch.zeros(DOCUMENTS, DIM)
    for start, block in documents.blocks():
        for i in range(block.rows):
            dims, values = block.row(i)
            out[start + i, torch.from_numpy(dims.astype(np.int64))] = torch.from_numpy(values.copy())
    return out


def disco_batch(documents, dense, method: Method):
    """Four contexts: a gold at rank 3, one at rank 500, one the teacher misses, and none."""
    teacher = torch.from_numpy(np.random.default_rng(6).random((4, DIM)).astype(np.float32))
    scores = teacher @ dense.T
    order = scores.argsort(dim=1, descending=True)
    names = [f"c{i}" for i in range(4)]
    pool = RankedPool.build(
        (name, Ranking(o[:1000].numpy(), s[o[:1000]].numpy())) for name, o, s in zip(names, order, scores, strict=True)
    )
    golds = [order[0, 2:3].numpy(), order[1, 499:500].numpy(), order[2, 1100:1101].numpy(), np.empty(0, np.int64)]
    data = SparseData(
        names=names,
        ids=[[1, 2]] * 4,
        teacher=csr_from_rows([(np.arange(DIM), row) for row in teacher.numpy()], DIM),
        documents=documents,
        sampler=build_sampler(method, pool, seed=3),
        golds=golds,
        pad_id=0,
        dim=DIM,
        shared=method.in_batch,
        rule=build_rule(method),
    )
    return data, scores, order, golds


def test_disco_lists_one_gold_and_sixteen_of_ranks_11_to_960(documents, dense):
    method = preset("disco")
    data, _, order, golds = disco_batch(documents, dense, method)
    seen = set()
    for epoch in range(30):
        for i in range(4):
            one = data.sampler(data.names[i], golds[i], epoch)
            negatives = one.positions[~one.is_gold]
            assert one.positions[one.is_gold].tolist() == golds[i].tolist()
            assert not set(negatives.tolist()) & set(golds[i].tolist())
            # The gold at rank 500 may be drawn; it then leaves the list rather than count as a negative.
            assert len(negatives) == 16 or (i == 1 and len(negatives) == 15)
            ranks = [order[i].tolist().index(p) + 1 for p in negatives.tolist()]
            assert min(ranks) >= 11
            assert max(ranks) <= 960
            seen.update(ranks)
    assert min(seen) < 30  # fresh every epoch, and over the whole band
    assert max(seen) > 940
    assert len(seen) > 700


def test_disco_loss_of_a_batch_is_the_published_formula(documents, dense):
    method = preset("disco")
    data, scores, order, golds = disco_batch(documents, dense, method)
    batch = data.collate([0, 1, 2, 3], epoch=0)
    query = torch.rand(4, DIM, generator=torch.Generator().manual_seed(1)).requires_grad_()
    output = score_documents(query, batch)
    loss = build_objective(method, documents)(output, batch.targets)
    for weight, penalty in build_penalties(method).values():
        loss = loss + weight * penalty(query)
    (gradient,) = torch.autograd.grad(loss, query)

    lists = [data.sampler(name, gold, 0) for name, gold in zip(data.names, golds, strict=True)]
    plain = query.detach().clone().requires_grad_()
    every_gold = {p for g in golds for p in g.tolist()}
    negatives = [one.positions[~one.is_gold].tolist() for one in lists]
    block = sorted({p for one in negatives for p in one} - every_gold)
    kl, ce = [], []
    for i, one in enumerate(lists):
        student = plain[i] @ dense[torch.from_numpy(one.positions)].T
        target = scores[i, torch.from_numpy(one.positions)].clone()
        if i in (0, 2):
            target[0] = scores[i, order[i, 10]]
        p, q = target.softmax(0), student.softmax(0)
        kl.append((p * (p / q).log()).sum())
        if len(golds[i]):
            against = sorted({*block, *negatives[i]} - set(golds[i].tolist()))
            logits = plain[i] @ dense[[*golds[i].tolist(), *against]].T
            ce.append(-logits.log_softmax(0)[0])
    expected = 0.99 * torch.stack(kl).mean() + 0.01 * torch.stack(ce).mean() + (1 / plain.sum(1) ** 2).mean()
    (expected_gradient,) = torch.autograd.grad(expected, plain)
    assert len(ce) == 3  # the context without gold has no contrastive term
    assert len(block) > 40  # the negatives of all contexts, not of one
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-5)


def test_pseudo_gold_is_an_option_of_its_own(documents, dense):
    plain, pseudo = preset("disco"), preset("disco").model_copy(update={"pseudo_gold": True})
    data, _, order, _ = disco_batch(documents, dense, plain)
    without = data.collate([3], 0).targets.gold
    data, _, order, _ = disco_batch(documents, dense, pseudo)
    batch = data.collate([3], 0)
    assert not without.any()
    assert batch.targets.gold.tolist() == [[True] + [False] * 16]
    first = data.sampler("c3", [], 0).positions[0]
    assert first == order[3, 0]


def test_the_collection_preset_is_the_whole_collection(documents, dense):
    method = preset("collection")
    assert (method.pool, method.draw) == ("collection", {"all": {}})
    teacher = torch.rand(2, DIM)
    data = SparseData(
        names=["a", "b"],
        ids=[[1], [1]],
        teacher=csr_from_rows([(np.arange(DIM), row) for row in teacher.numpy()], DIM),
        documents=documents,
        sampler=None,
        golds=[np.empty(0, np.int64)] * 2,
        pad_id=0,
        dim=DIM,
    )
    batch = data.collate([0, 1], 0)
    whole = Method(pool="collection", objective={"full_collection_kld": {"weight": 2.0, "tau": 3.0}})
    query = torch.rand(2, DIM)
    loss = build_objective(whole, documents)(score_documents(query, batch), batch.targets)
    p, q = (teacher @ dense.T / 3).softmax(1), (query @ dense.T / 3).softmax(1)
    assert loss.item() == pytest.approx(2 * (p * (p / q).log()).sum(1).mean().item(), rel=1e-3)


@pytest.mark.parametrize("name", presets())
def test_every_preset_holds_together(name):
    check_method(preset(name))


def test_the_presets_are_these():
    assert presets() == ["collection", "disco", "kld_contrastive", "mse", "student"]


def test_disco_is_as_published():
    method = preset("disco")
    assert method.teachers == {"human": 1.0}
    assert method.objective == {"kld": {"weight": 0.99, "tau": 1.0}, "infonce": {"weight": 0.01, "tau": 1.0}}
    assert method.draw == {"uniform_band": {"n": 16, "first": 11, "last": 960}}
    assert (method.gold, method.pseudo_gold, method.in_batch) == ("one", False, True)
    assert (method.score_rule, method.penalties) == ("rank_11", {"anti_zero": 1.0})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"objective": {"kdl": {}}}, "kdl"),
        ({"objective": {}}, "no objective"),
        ({"objective": {"kld": {"temperature": 2}}}, "temperature"),
        ({"objective": {"kld": {"tau": -1}}}, "temperature -1"),
        ({"objective": {"kld": {"weight": "much"}}}, "weight"),
        ({"objective": {"kld": {"weight": float("nan")}}}, "weight nan"),
        ({"objective": {"full_collection_kld": {"shards": 3}}}, "shards"),
        ({"draw": {"top": {"n": 2}, "all": {}}}, "2 draws"),
        ({"draw": {"best": {}}}, "best"),
        ({"draw": {"top": {"n": 2.5}}}, "n is 2.5"),
        ({"draw": {"top": {"n": "many"}}}, "n is 'many'"),
        ({"draw": {"bands": {"bands": [[1, 2]]}}}, "bands"),
        ({"penalties": {"l2": 1.0}}, "l2"),
        ({"penalties": {"l1": {"weight": 1.0, "schedule": "linear", "ramp": 2.0}}}, "ramp"),
        ({"mix": {"to": {"infonce": 0.2}}}, "infonce"),
        ({"mix": {"to": {"kld": 0.2}, "over": 0}}, "share 0"),
        ({"mix": "balanced", "objective": {"kld": {"weight": 0}, "infonce": {}}}, "first"),
        ({"sparsity": {"active_dims": 10, "penalty": "l2"}}, "l2"),
        ({"sparsity": {"active_dims": {1: 10, 4: -2}}}, "active_dims"),
        ({"gold": "none", "pseudo_gold": True}, "pseudo_gold"),
        ({"pool": "collection", "objective": {"kld": {}}}, "kld"),
        ({"pool": "collection", "objective": {"infonce": {}}}, "infonce"),
    ],
)
def test_a_method_that_cannot_be_is_refused_before_anything_is_computed(options, named):
    with pytest.raises(DistillirError, match=named):
        check_method(Method(**options))


def test_options_take_the_types_they_declare():
    sampler = build_sampler(Method(draw={"top": {"n": 3.0}}), RankedPool.build([("c", falling(5))]), seed=0)
    assert sampler.draw.n == 3
    with pytest.raises(ConfigError, match="it has"):
        check_method(Method(draw={"all": {"n": 3}}))


def test_penalties_take_a_number_or_a_schedule(documents):
    method = Method(
        penalties={"anti_zero": 1.0, "l1": {"weight": 0.01, "schedule": "quadratic", "ramp": 0.5}, "expected_flops": 2}
    )
    made = build_penalties(method, documents)
    assert made["anti_zero"][0] == 1.0
    assert made["l1"][0](0.25) == pytest.approx(0.0025)
    x = torch.rand(3, DIM)
    share = torch.from_numpy(documents.document_frequency() / DOCUMENTS).float()
    assert made["expected_flops"][1](x).item() == pytest.approx((x * share).sum(1).mean().item(), rel=1e-5)
    assert Method.model_validate(method.model_dump(mode="json")) == method


def test_a_sparsity_target_becomes_a_control(documents):
    assert build_control(Method(), documents) is None
    held = build_control(Method(sparsity={"active_dims": 10}), documents)
    assert held.report()["all"]["target"] == 10
    held = build_control(Method(sparsity={"flops": 1.2, "by_turn": True}), documents)
    assert [*held.report()] == ["turn 1+", "turn 2+", "turn 4+", "turn 6+"]
    x, turns = torch.ones(2, DIM), torch.tensor([1, 7])
    held.update(x, turns, 1.0)
    assert held.report()["turn 6+"]["count"] == pytest.approx(documents.document_frequency().sum() / DOCUMENTS)
    method = Method(sparsity={"active_dims": {"1": 8, "5": 12}})  # as JSON has it
    assert build_control(method, documents).targets == {1: 8.0, 5: 12.0}


@pytest.mark.parametrize(
    "options", [{}, {"active_dims": 3, "flops": 1.0}, {"active_dims": {1: 3}, "by_turn": True}, {"dims": 3}]
)
def test_a_sparsity_target_is_one(options):
    with pytest.raises(ValueError, match="sparsity"):
        Method(sparsity=options)


def test_a_mix_is_one_line(documents):
    both = {"kld": {"weight": 0.9}, "infonce": {"weight": 0.1, "tau": 0.08}}
    assert build_objective(Method(objective=both, mix="balanced"), documents).first == [0.9, 0.1]
    linear = build_objective(Method(objective=both, mix={"to": {"infonce": 0.2}, "over": 0.5}), documents)
    assert (linear.first, linear.last, linear.over) == ([0.9, 0.1], [0.9, 0.2], 0.5)
    assert build_objective(Method(objective=both), documents).name == "0.9·kld + 0.1·infonce"
