"""KLD whose student side also reaches over the block the batch shares, and G2R's loss composed of it."""

import math

import pytest
import torch
from scipy.special import log_softmax, softmax

from distillir.errors import ObjectiveError
from distillir.objectives import KLD, InfoNCE, Output, Targets, WeightedSum, check_pairing

NONE = math.nan


def two_contexts(dtype=torch.float64) -> tuple[Output, Targets]:
    """Three own candidates and one; three shared, of which the second context may not use the first."""
    output = Output(
        scores=torch.tensor([[1.0, 0.5, -1.0], [2.0, NONE, NONE]], dtype=dtype, requires_grad=True),
        mask=torch.tensor([[True, True, True], [True, False, False]]),
        shared=torch.tensor([[0.2, -0.3, 1.1], [NONE, 0.4, 0.9]], dtype=dtype, requires_grad=True),
        shared_mask=torch.tensor([[True, True, True], [False, True, True]]),
    )
    scores = torch.tensor([[-1.0, -2.0, -1.5], [-0.7, NONE, NONE]], dtype=dtype)
    return output, Targets(scores=scores, gold=output.mask)


def published(output: Output, targets: Targets, a: float) -> float:
    """(1 − a)·L_CE + a·L_KD of G2R, candidate by candidate."""
    rows = []
    for b in range(len(output.scores)):
        own = output.scores[b][output.mask[b]].tolist()
        negatives = output.shared[b][output.shared_mask[b]].tolist()
        ce = [-log_softmax([s, *negatives])[0] for s in own]
        q, log_p = softmax(targets.scores[b][output.mask[b]].tolist()), log_softmax([*own, *negatives])
        kd = -sum(qi * pi for qi, pi in zip(q, log_p, strict=False))
        entropy = -sum(qi * math.log(qi) for qi in q)
        rows.append((1 - a) * sum(ce) / len(ce) + a * (kd - entropy))
    return sum(rows) / len(rows)


@pytest.mark.parametrize("a", [0.1, 0.3, 1.0])
def test_the_loss_of_g2r_is_a_weighted_sum(a):
    output, targets = two_contexts()
    loss = WeightedSum(((1 - a, InfoNCE(own_list=False)), (a, KLD(shared=True))))
    assert loss(output, targets).item() == pytest.approx(published(output, targets, a), abs=1e-12)


def test_by_hand():
    # q = (½, ½); p over two own candidates and two shared ones, all of score 0: ¼ each. KL = ln(½ / ¼) = ln 2
    output = Output(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), shared=torch.zeros(1, 2))
    assert KLD(shared=True)(output, Targets(scores=torch.zeros(1, 2))).item() == pytest.approx(math.log(2))


def test_the_gradient_is_p_less_q_and_none_where_nothing_is_allowed():
    output, targets = two_contexts()
    KLD(shared=True)(output, targets).backward()
    for b, (own, block) in enumerate(((3, [0, 1, 2]), (1, [1, 2]))):
        scores = [*output.scores[b, :own].tolist(), *output.shared[b, block].tolist()]
        p, q = softmax(scores), softmax(targets.scores[b, :own].tolist())
        assert output.scores.grad[b, :own].tolist() == pytest.approx([(p[i] - q[i]) / 2 for i in range(own)])
        assert output.shared.grad[b, block].tolist() == pytest.approx([x / 2 for x in p[own:]])
    assert output.scores.grad[1, 1:].tolist() == [0, 0]
    assert output.shared.grad[1, 0] == 0


def test_a_single_candidate_is_infonce():
    output, targets = two_contexts()
    alone = Output(output.scores[1:, :1], output.mask[1:, :1], None, None, output.shared[1:], output.shared_mask[1:])
    labels = Targets(scores=targets.scores[1:, :1], gold=targets.gold[1:, :1])
    assert KLD(shared=True)(alone, labels).item() == pytest.approx(InfoNCE(own_list=False)(alone, labels).item())


def test_far_negatives_leave_the_plain_divergence():
    output, targets = two_contexts()
    far = Output(output.scores, output.mask, shared=torch.full((2, 3), -1e4))
    plain = KLD()(far, targets).item()  # a mean over the one context that has two candidates
    assert KLD(shared=True)(far, targets).item() == pytest.approx(plain / 2, abs=1e-9)


def test_a_context_without_an_allowed_negative_does_not_count():
    output, targets = two_contexts()
    none = output.shared_mask.clone()
    none[1] = False
    first = Output(output.scores[:1], output.mask[:1], shared=output.shared[:1])
    masked = Output(output.scores, output.mask, shared=output.shared, shared_mask=none)
    alone = KLD(shared=True)(first, Targets(scores=targets.scores[:1])).item()
    assert KLD(shared=True)(masked, targets).item() == pytest.approx(alone)


def test_without_a_block_it_is_refused_before_and_in_the_step():
    output, targets = two_contexts()
    bare = Output(output.scores, output.mask)
    with pytest.raises(ObjectiveError, match="shared"):
        check_pairing(KLD(shared=True), bare.provides(), targets.provides())
    with pytest.raises(ObjectiveError, match="shared block"):
        KLD(shared=True)(bare, targets)
    with pytest.raises(ObjectiveError, match="entropy"):
        KLD(tau="entropy", shared=True)
