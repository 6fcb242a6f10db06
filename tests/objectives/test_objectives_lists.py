"""Objectives over lists: by hand, by limit or gradient, against a second implementation, under hazards."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from distillir.errors import ObjectiveError
from distillir.objectives import (
    ADRMSE,
    KLD,
    OBJECTIVES,
    InfoNCE,
    LambdaRank,
    Likelihood,
    ListNet,
    MarginMSE,
    Output,
    PointwiseMSE,
    RankGap,
    RankNet,
    RepresentationMSE,
    Targets,
    WeightedSum,
    check_pairing,
    effective_documents,
    entropy_temperature,
)

LN2 = math.log(2)


def lists(*rows, dtype=torch.float32):
    """Ragged rows of scores → an Output whose missing places hold NaN."""
    width = max(len(row) for row in rows)
    scores = torch.full((len(rows), width), torch.nan, dtype=dtype)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        scores[i, : len(row)] = torch.tensor(row, dtype=dtype)
        mask[i, : len(row)] = True
    return Output(scores=scores.requires_grad_(), mask=mask)


def like(output, rows, *, fill, dtype):
    full = torch.full(output.scores.shape, fill, dtype=dtype)
    for i, row in enumerate(rows):
        full[i, : len(row)] = torch.tensor(row, dtype=dtype)
    return full


def teacher(output, *rows):
    return Targets(scores=like(output, rows, fill=math.nan, dtype=torch.float32))


def order(output, *rows):
    return Targets(order=like(output, rows, fill=-1, dtype=torch.long))


def gold(output, *rows):
    return Targets(gold=like(output, rows, fill=False, dtype=torch.bool))


def everything(B=4, N=6, V=11, seed=0, dtype=torch.float64):
    """Random ragged input that every objective can read."""
    g = torch.Generator().manual_seed(seed)
    real = torch.arange(N) < torch.randint(2, N + 1, (B, 1), generator=g)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=dtype)  # noqa: E731
    ranks = torch.stack([torch.randperm(N, generator=g) for _ in range(B)])
    has = torch.zeros(B, N, dtype=torch.bool)
    has[:, 0] = True
    output = Output(
        scores=draw(B, N).requires_grad_(),
        mask=real,
        vectors=draw(B, V).abs().requires_grad_(),
        shared=draw(B, 3).requires_grad_(),
        shared_mask=torch.rand(B, 3, generator=g) < 0.7,
    )
    return output, Targets(scores=draw(B, N), order=ranks, gold=has & real, vectors=draw(B, V).abs())


ALL = [
    KLD(),
    KLD(tau=2.0),
    KLD(tau="entropy", effective_documents=2.0),
    KLD(tau=0.7, shared=True),
    InfoNCE(),
    InfoNCE(tau=0.5, own_list=False),
    RepresentationMSE(),
    MarginMSE(),
    MarginMSE(pairs="gold"),
    PointwiseMSE(),
    RankNet(),
    RankNet(by="scores"),
    RankGap(),
    RankGap(gold_first=True),
    ADRMSE(),
    LambdaRank(),
    ListNet(),
    WeightedSum(((0.99, KLD()), (0.01, InfoNCE()))),
]
every = pytest.mark.parametrize("objective", ALL, ids=lambda o: f"{o.name}-{ALL.index(o)}")


# What all objectives share


@every
def test_gradients_are_those_of_finite_differences(objective):
    output, targets = everything()

    def loss(scores, vectors, shared):
        return objective(Output(scores, output.mask, vectors, None, shared, output.shared_mask), targets)

    assert torch.autograd.gradcheck(loss, (output.scores, output.vectors, output.shared))


@every
def test_what_is_masked_neither_counts_nor_moves(objective):
    output, targets = everything(dtype=torch.float32)
    hidden = Output(
        scores=output.scores.detach().masked_fill(~output.mask, torch.nan).requires_grad_(),
        mask=output.mask,
        vectors=output.vectors,
        shared=output.shared.detach().masked_fill(~output.shared_mask, torch.nan).requires_grad_(),
        shared_mask=output.shared_mask,
    )
    unlabelled = Targets(
        scores=targets.scores.masked_fill(~output.mask, torch.inf),
        order=targets.order.masked_fill(~output.mask, -1),
        gold=targets.gold,
        vectors=targets.vectors,
    )
    shown, unseen = objective(output, targets), objective(hidden, unlabelled)
    assert unseen.isfinite()
    assert unseen.item() == pytest.approx(shown.item(), abs=1e-6)
    unseen.backward()
    if hidden.scores.grad is not None:
        assert hidden.scores.grad.isfinite().all()
        assert (hidden.scores.grad[~output.mask] == 0).all()


@every
def test_half_precision_gives_a_float32_loss(objective):
    output, targets = everything(dtype=torch.float32)
    halves = {n: getattr(output, n).detach().bfloat16().requires_grad_() for n in ("scores", "vectors", "shared")}
    half = Output(halves["scores"], output.mask, halves["vectors"], None, halves["shared"], output.shared_mask)
    widened = {n: t.detach().float() for n, t in halves.items()}
    wide = Output(widened["scores"], output.mask, widened["vectors"], None, widened["shared"], output.shared_mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(half, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(objective(wide, targets).item(), rel=1e-6)


@every
def test_order_of_candidates_does_not_matter(objective):
    output, targets = everything()
    shuffle = torch.randperm(output.scores.shape[1], generator=torch.Generator().manual_seed(5))
    moved = Output(
        output.scores[:, shuffle], output.mask[:, shuffle], output.vectors, None, output.shared, output.shared_mask
    )
    labels = Targets(targets.scores[:, shuffle], targets.order[:, shuffle], targets.gold[:, shuffle], targets.vectors)
    assert objective(moved, labels).item() == pytest.approx(objective(output, targets).item(), abs=1e-12)


@every
def test_a_narrower_label_tensor_is_refused(objective):
    """(B, 1) beside (B, N) broadcasts, and trains toward uniform at a plausible loss."""
    output, targets = everything()
    narrow = Targets(targets.scores[:, :1], targets.order[:, :1], targets.gold[:, :1], targets.vectors[:, :1])
    with pytest.raises(ObjectiveError, match="beside student"):
        objective(output, narrow)


@every
def test_missing_labels_are_refused_before_and_in_the_step(objective):
    output, targets = everything()
    check_pairing(objective, output.provides(), targets.provides())
    with pytest.raises(ObjectiveError, match="labels give only"):
        check_pairing(objective, output.provides(), frozenset())
    with pytest.raises(ObjectiveError, match="missing"):
        objective(output, Targets())


@pytest.mark.parametrize("objective", [o for o in ALL if o.reads_targets & {"scores", "vectors"}], ids=lambda o: o.name)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_teacher_numbers_that_are_not_finite_are_refused(objective, bad):
    output, targets = everything()
    targets.scores[1, 0] = bad
    targets.vectors[1, 0] = bad
    with pytest.raises(ObjectiveError, match="not finite"):
        objective(output, targets)


def test_the_registry_names_each_objective_once():
    assert {name: cls.name for name, cls in OBJECTIVES.items()} == {name: name for name in OBJECTIVES}
    # The likelihood is no objective of lists: it hands on what the student says.
    assert {o.name for o in ALL} - {ALL[-1].name} == set(OBJECTIVES) - {Likelihood.name}
    for cls in OBJECTIVES.values():
        assert cls().reads_output <= {"scores", "vectors", "shared", "token_loss"}


# KLD


def test_kld_by_hand():
    output = lists([0.0, 0.0])
    # p_T = (3/4, 1/4), p_S = (1/2, 1/2)
    loss = KLD()(output, teacher(output, [math.log(3), 0.0]))
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)
    loss.backward()
    assert output.scores.grad.tolist()[0] == pytest.approx([-0.25, 0.25], abs=1e-6)  # p_S − p_T


def test_kld_against_scipy():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=n).tolist() for n in (2, 5, 7)]
    marks = [(rng.normal(size=len(row)) * 3).tolist() for row in rows]
    output = lists(*rows)
    expected = np.mean(
        [
            (softmax(np.array(t) / 2) * (log_softmax(np.array(t) / 2) - log_softmax(np.array(s) / 2))).sum()
            for s, t in zip(rows, marks, strict=True)
        ]
    )
    assert KLD(tau=2.0)(output, teacher(output, *marks)).item() == pytest.approx(expected, abs=1e-6)


def test_kld_is_zero_at_the_teacher_and_blind_to_a_constant():
    output = lists([1.0, 2.0, -3.0], [5.0, 4.0])
    loss = KLD(tau=0.7)(output, teacher(output, [11.0, 12.0, 7.0], [5.0, 4.0]))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert output.scores.grad.abs().max() < 1e-6


def test_kld_skips_rows_of_one_candidate_in_the_mean():
    output = lists([0.0, 0.0], [3.0])
    alone = lists([0.0, 0.0])
    expected = KLD()(alone, teacher(alone, [1.0, 0.0])).item()
    assert KLD()(output, teacher(output, [1.0, 0.0], [9.0])).item() == pytest.approx(expected, abs=1e-7)


def test_kld_survives_scores_far_apart():
    output = lists([0.0, 0.0, 0.0], dtype=torch.float16)
    loss = KLD()(output, teacher(output, [500.0, 0.0, -500.0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3), abs=1e-6)  # −ln p_S of the only document the teacher holds
    assert output.scores.grad.isfinite().all()


def test_kld_of_a_constant_teacher_is_uniform_with_a_fixed_temperature():
    output = lists([math.log(3), 0.0])
    loss = KLD()(output, teacher(output, [4.0, 4.0]))
    assert loss.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), abs=1e-6)


def test_entropy_temperature_refuses_a_constant_teacher_and_counts_the_rows():
    output = lists([1.0, 2.0, 3.0], [1.0, 2.0], [0.0, 1.0])
    labels = teacher(output, [2.0, 2.0, 2.0], [1.0, 0.0], [0.0, 0.0])
    with pytest.raises(ObjectiveError, match="2 of 3 contexts"):
        KLD(tau="entropy")(output, labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 40), st.floats(1e-3, 1e3), st.floats(1.5, 4.0))
def test_entropy_temperature_reaches_the_number_of_documents(seed, n, scale, wanted):
    scores = torch.randn(3, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    mask = torch.ones(3, n, dtype=torch.bool)
    tau = entropy_temperature(scores, mask, wanted)
    assert effective_documents(scores, mask, tau[:, None]).tolist() == pytest.approx([wanted] * 3, rel=1e-4)
    # a teacher on another scale gives another temperature and the same distribution
    assert (entropy_temperature(scores * 7, mask, wanted) / tau).tolist() == pytest.approx([7.0] * 3, rel=1e-4)


def test_entropy_temperature_brings_the_target_into_a_rows_reach():
    scores = torch.tensor([[1.0, 0.0, 0.0], [2.0, 2.0, 0.0], [4.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    tau = entropy_temperature(scores, mask, 10.0)
    effective = effective_documents(scores, mask, tau[:, None])
    assert effective[0].item() == pytest.approx(2 * 0.5**0.05, rel=1e-4)
    assert effective[1].item() == pytest.approx(3 * (2 / 3) ** 0.05, rel=1e-4)
    assert tau[2] == 1
    low = effective_documents(scores, mask, entropy_temperature(scores, mask, 1.01)[:, None])
    assert low[1].item() == pytest.approx(2 * 1.5**0.05, rel=1e-4)  # two tie for the first place


def test_entropy_temperature_counts_copies():
    one_by_one = torch.tensor([[5.0, 3.0, 0.0, 0.0, 0.0, 0.0]])
    folded, copies = torch.tensor([[5.0, 3.0, 0.0]]), torch.tensor([[1.0, 1.0, 4.0]])
    plain = entropy_temperature(one_by_one, torch.ones(1, 6, dtype=torch.bool), 2.5)
    counted = entropy_temperature(folded, torch.ones(1, 3, dtype=torch.bool), 2.5, copies)
    assert counted.item() == pytest.approx(plain.item(), rel=1e-6)


# InfoNCE


def test_infonce_by_hand():
    output = lists([math.log(3), 0.0, 0.0])
    loss = InfoNCE()(output, gold(output, [True, False, False]))
    assert loss.item() == pytest.approx(-math.log(3 / 5), abs=1e-6)


def test_golds_never_compete():
    """Two golds: each against the one negative; a joint softmax would give another number."""
    output = lists([math.log(3), math.log(7), 0.0])
    loss = InfoNCE()(output, gold(output, [True, True, False]))
    assert loss.item() == pytest.approx(-(math.log(3 / 4) + math.log(7 / 8)) / 2, abs=1e-6)
    loss.backward()
    # the gradient of the first gold does not know the second: −(1 − 3/4)/2
    assert output.scores.grad[0].tolist() == pytest.approx([-1 / 8, -1 / 16, 3 / 16], abs=1e-6)


def test_the_shared_block_brings_negatives():
    listed = lists([0.0, 0.0])
    block, allowed = torch.tensor([[math.log(2), 50.0]]), torch.tensor([[True, False]])
    output = Output(listed.scores, listed.mask, shared=block, shared_mask=allowed)
    labels = gold(output, [True, False])
    assert InfoNCE()(output, labels).item() == pytest.approx(math.log(4), abs=1e-6)
    assert InfoNCE(own_list=False)(output, labels).item() == pytest.approx(math.log(3), abs=1e-6)


def test_infonce_against_cross_entropy():
    output, targets = everything()
    rows = []
    for b in range(4):
        negatives = [output.scores[b, i] for i in range(1, 6) if output.mask[b, i]]
        negatives += [output.shared[b, s] for s in range(3) if output.shared_mask[b, s]]
        logits = torch.stack([output.scores[b, 0], *negatives]) / 0.3
        rows.append(torch.nn.functional.cross_entropy(logits[None], torch.tensor([0])))
    assert InfoNCE(tau=0.3)(output, targets).item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-9)


def test_rows_without_a_gold_do_not_count():
    output = lists([math.log(3), 0.0], [7.0, 1.0])
    loss = InfoNCE()(output, gold(output, [True, False], [False, False]))
    assert loss.item() == pytest.approx(-math.log(3 / 4), abs=1e-6)
    loss.backward()
    assert (output.scores.grad[1] == 0).all()


def test_without_any_gold_loss_and_gradient_are_zero():
    output = lists([1.0, 2.0], [3.0])
    loss = InfoNCE()(output, gold(output, [False, False], [False]))
    loss.backward()
    assert loss.item() == 0
    assert (output.scores.grad == 0).all()


def test_a_gold_without_negatives_does_not_count():
    output = lists([1.0], [2.0, 0.0])
    loss = InfoNCE()(output, gold(output, [True], [True, False]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-6)


def test_infonce_without_own_list_asks_for_a_shared_block():
    output = lists([1.0, 2.0])
    objective = InfoNCE(own_list=False)
    with pytest.raises(ObjectiveError, match="student give only"):
        check_pairing(objective, output.provides(), frozenset({"gold"}))
    with pytest.raises(ObjectiveError, match="no negatives"):
        objective(output, gold(output, [True, False]))


# Squared errors


def test_representation_mse_is_a_sum_over_dimensions_and_a_mean_over_contexts():
    vectors = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    output = Output(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool), vectors=vectors)
    loss = RepresentationMSE()(output, Targets(vectors=torch.tensor([[0.0, 2.0, 2.0], [3.0, 0.0, 0.0]])))
    assert loss.item() == (1 + 4 + 9) / 2
    loss.backward()
    assert vectors.grad.tolist() == [[1.0, -2.0, 0.0], [-3.0, 0.0, 0.0]]


def test_margin_mse_by_hand():
    output = lists([3.0, 1.0, 0.0])
    labels = teacher(output, [5.0, 4.0, 0.0])
    # differences student 2, 3, 1; teacher 1, 5, 4
    assert MarginMSE()(output, labels).item() == pytest.approx((1 + 4 + 9) / 3)
    with_gold = Targets(scores=labels.scores, gold=torch.tensor([[True, False, False]]))
    assert MarginMSE(pairs="gold")(output, with_gold).item() == pytest.approx((1 + 4) / 2)


def test_margin_mse_is_twice_the_variance_of_the_error():
    output, targets = everything()
    rows = []
    for b in range(4):
        error = (output.scores - targets.scores)[b][output.mask[b]]
        rows.append(2 * error.var(unbiased=True))
    assert MarginMSE()(output, targets).item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-9)


def test_pointwise_mse_by_hand():
    output = lists([3.0, 1.0], [2.0])
    loss = PointwiseMSE()(output, teacher(output, [1.0, 1.0], [5.0]))
    assert loss.item() == ((4 + 0) / 2 + 9) / 2


# Orders


def test_ranknet_by_hand():
    output = lists([0.0, math.log(3), 0.0])
    # the teacher's order: 2, 0, 1; pairs (2,0), (2,1), (0,1)
    loss = RankNet()(output, order(output, [1, 2, 0]))
    assert loss.item() == pytest.approx((LN2 + math.log(4) + math.log(4)) / 3, abs=1e-6)


def test_ranknet_ignores_what_the_teacher_did_not_rank_and_what_it_ties():
    output = lists([0.0, 5.0, 1.0])
    assert RankNet()(output, order(output, [4, -1, 9])).item() == pytest.approx(math.log1p(math.e), abs=1e-6)
    assert RankNet(by="scores")(output, teacher(output, [2.0, 1.0, 1.0])).item() == pytest.approx(
        (math.log1p(math.exp(5)) + math.log1p(math.e)) / 2, abs=1e-6
    )


def test_ranknet_in_the_limits():
    output = lists([500.0, 0.0, -500.0])
    assert RankNet()(output, order(output, [0, 1, 2])).item() == 0
    loss = RankNet()(output, order(output, [2, 1, 0]))
    loss.backward()
    assert loss.item() == pytest.approx((500 + 1000 + 500) / 3)
    assert output.scores.grad[0].tolist() == pytest.approx([2 / 3, 0, -2 / 3])


def test_rank_gap_by_hand():
    output = lists([0.0, 0.0, 0.0])
    # hinges: (0,1) 1, (0,2) 1.5, (1,2) 1; weights 3, 3, 1/2
    loss = RankGap(margin=1.0, step=0.5)(output, order(output, [0, 1, 2]))
    assert loss.item() == pytest.approx((3 * 1 + 3 * 1.5 + 0.5) / 3)


def test_rank_gap_averages_over_violated_margins_and_is_zero_without_any():
    output = lists([10.0, 8.0, 8.5])
    # only (1,2) misses its margin: 8.5 − 8 + 1
    loss = RankGap(margin=1.0, step=0.5)(output, order(output, [0, 1, 2]))
    assert loss.item() == pytest.approx(1.5 / 2)
    met = lists([10.0, 5.0, 0.0])
    zero = RankGap()(met, order(met, [0, 1, 2]))
    zero.backward()
    assert zero.item() == 0  # a mean over no terms would be NaN
    assert (met.scores.grad == 0).all()


def test_rank_gap_reads_places_in_the_list_not_ranks_in_the_collection():
    output = lists([0.3, 0.1, 0.2])
    near, far = order(output, [0, 1, 2]), order(output, [11, 400, 960])
    assert RankGap()(output, near).item() == RankGap()(output, far).item()


def test_rank_gap_can_put_golds_first():
    output = lists([0.0, 1.0, 2.0])
    labels = Targets(order=torch.tensor([[-1, 1, 0]]), gold=torch.tensor([[True, False, False]]))
    # order 0, 2, 1: hinges 2+1, 1+1.5, 0; weights 3, 3
    loss = RankGap(margin=1.0, step=0.5, gold_first=True)(output, labels)
    assert loss.item() == pytest.approx((3 * 3 + 3 * 2.5) / 2)


def test_rank_gap_can_be_relative_to_the_range():
    rows = [4.0, 0.0, 2.0]  # of range 4: 1, 0, .5
    output, labels = lists(rows), order(lists(rows), [0, 1, 2])
    loss = RankGap(margin=0.5, step=0.25, relative=True)(output, labels)
    # hinges: (0,1) 0, (0,2) .5 − 1 + .75 = .25, (1,2) .5 + .5 = 1; weights 3, 1/2
    assert loss.item() == pytest.approx((3 * 0.25 + 0.5 * 1) / 2)
    loss.backward()
    assert output.scores.grad[0].tolist() == pytest.approx([-3 / 8, -0.5 / 8, 3.5 / 8])  # the range is a constant
    large = lists([1000 * score for score in rows])
    assert RankGap(margin=0.5, step=0.25, relative=True)(large, labels).item() == pytest.approx(loss.item())
    equal = lists([3.0, 3.0, 3.0])
    assert RankGap(relative=True)(equal, labels).item() == RankGap()(equal, labels).item()
    alone = lists([3.0])
    assert RankGap(relative=True)(alone, order(alone, [0])).item() == 0


def test_rank_gap_by_gold_alone_knows_two_places():
    output = lists([0.0, 1.0, 5.0])
    labels = Targets(gold=torch.tensor([[False, True, False]]))
    # gold above both others, which are worth the same: hinges 0 − 1 + 2 and 5 − 1 + 2
    loss = RankGap(margin=2.0, step=1.0, top_weight=1.0, by="gold")(output, labels)
    assert loss.item() == pytest.approx((1 + 6) / 2)
    assert RankGap(by="gold").reads_targets == {"gold"}


def test_the_range_is_of_what_is_real_and_of_the_whole_batch():
    scores = torch.tensor([[2.0, 0.0, 99.0], [6.0, 0.0, 0.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    labels = Targets(order=torch.tensor([[1, 0, -1], [0, 1, 2]]))
    loss = RankGap(margin=0.0, step=0.0, relative=True)(Output(scores, mask), labels)
    # ranges 2 and 6, mean 4: the first list's (1, 0) is 2/4 the wrong way round, the second costs nothing
    assert loss.item() == pytest.approx(3 * 0.5)


def test_likelihood_is_the_student_s_token_loss():
    loss = torch.tensor(2.5, dtype=torch.bfloat16, requires_grad=True)
    output = Output(torch.empty(2, 0), torch.empty(2, 0, dtype=torch.bool), token_loss=loss)
    value = Likelihood()(output, Targets())
    value.backward()
    assert (value.item(), value.dtype, loss.grad.item()) == (2.5, torch.float32, 1.0)
    with pytest.raises(ObjectiveError, match="token_loss"):
        Likelihood()(Output(torch.empty(2, 0), torch.empty(2, 0, dtype=torch.bool)), Targets())


def test_adr_mse_by_hand():
    output = lists([0.0, 0.0])
    # r̂ = 1.5 for both; r = 1, 2
    loss = ADRMSE()(output, order(output, [0, 1]))
    assert loss.item() == pytest.approx((0.25 / 1 + 0.25 / math.log2(3)) / 2, abs=1e-6)


def test_adr_mse_is_the_distance_of_true_ranks_at_a_small_temperature():
    output = lists([3.0, 2.0, 1.0])
    assert ADRMSE(tau=0.01)(output, order(output, [0, 1, 2])).item() == pytest.approx(0, abs=1e-9)
    loss = ADRMSE(tau=0.01)(output, order(output, [2, 1, 0]))
    assert loss.item() == pytest.approx((4 / math.log2(4) + 0 + 4 / math.log2(2)) / 3, rel=1e-6)


def test_lambda_rank_by_hand():
    output = lists([0.0, 1.0])
    # the teacher prefers candidate 0, the student ranks it second
    delta = (1 - 1 / 2) * (1 - 1 / math.log2(3)) / (1 + 0.5 / math.log2(3))
    loss = LambdaRank()(output, order(output, [0, 1]))
    assert loss.item() == pytest.approx(delta * math.log1p(math.e), rel=1e-6)


def test_lambda_rank_weighs_a_swap_by_its_change_in_ndcg():
    """An independent loop over pairs that recomputes nDCG after each swap."""
    output = lists([0.3, -0.2, 0.9, 0.1])
    labels = order(output, [0, 1, 2, 3])
    scores, gains = output.scores.detach()[0].tolist(), [1 / r for r in (1, 2, 3, 4)]

    def ndcg(ranking):
        return sum(gains[c] / math.log2(p + 2) for p, c in enumerate(ranking)) / sum(
            g / math.log2(p + 2) for p, g in enumerate(gains)
        )

    ranking = sorted(range(4), key=lambda c: -scores[c])
    total = 0.0
    for i in range(4):
        for j in range(i + 1, 4):
            swapped = [j if c == i else i if c == j else c for c in ranking]
            total += abs(ndcg(swapped) - ndcg(ranking)) * math.log1p(math.exp(scores[j] - scores[i]))
    assert LambdaRank()(output, labels).item() == pytest.approx(total, rel=1e-5)


# Weighted sum


def test_weighted_sum_by_hand_and_its_parts():
    output, targets = everything()
    both = WeightedSum(((0.99, KLD()), (0.01, InfoNCE()), (2.0, KLD(tau=3.0))))
    parts = both.parts(output, targets)
    assert list(parts) == ["kld", "infonce", "kld_2"]
    assert parts["kld_2"].item() == KLD(tau=3.0)(output, targets).item()
    expected = 0.99 * parts["kld"] + 0.01 * parts["infonce"] + 2 * parts["kld_2"]
    assert both(output, targets).item() == pytest.approx(expected.item(), rel=1e-12)
    assert both.reads_targets == {"scores", "gold"}
    assert both.name == "0.99·kld + 0.01·infonce + 2·kld"


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightedSum(()),
        lambda: WeightedSum(((math.nan, KLD()),)),
        lambda: KLD(tau=0.0),
        lambda: KLD(tau="entrpy"),
        lambda: KLD(tau="entropy", effective_documents=1.0),
        lambda: InfoNCE(tau=-1.0),
        lambda: ADRMSE(tau=math.nan),
        lambda: RankGap(margin=-1.0),
        lambda: MarginMSE(pairs="some"),
    ],
)
def test_parameters_without_meaning_are_refused(make):
    with pytest.raises(ObjectiveError):
        make()
