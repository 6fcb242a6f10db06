"""Batches of a generative student: what is written, which keys score which passages, and both trainings by the loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distillir.conversation import Conversation
from distillir.data.views import View
from distillir.errors import TrainingError
from distillir.objectives import Likelihood, RankGap, WeightedSum
from distillir.rendering import RenderSettings
from distillir.sampling import All, CandidateSampler, RankedPool, Ranking, UniformBand
from distillir.students import GenerativeSettings, GenerativeStudent
from distillir.training import GenerativeData, GenerativeKeys, TrainSettings, train

TITLE = View("title", "\nTitle:")
BODY = View("body", "\nPassage:", whole=False, length=3, least=1)
END = 2
QUESTIONS = ["what does the whale eat", "where does the tiger live", "how big is the horse"]


class Texts:
    """Passage p's title is (10 + p,), its body five tokens from 20 + p on."""

    def texts(self, view, passage):
        own = [10 + passage] if view == "title" else list(range(20 + passage, 25 + passage))
        return [] if passage == 9 else [np.array(own)]


@pytest.fixture(scope="module")
def student(tiny_writer):
    return GenerativeStudent.from_pretrained(
        tiny_writer, GenerativeSettings(RenderSettings(max_length=48), (TITLE, BODY))
    )


KEYS = GenerativeKeys(
    tokens=((20, 21), (20, 21, 22), (30,), (10, END), (10,)),
    views=("body", "body", "body", "title", "title"),
    prior=np.array([-3.0, -4.0, -2.0, -5.0, -2.5]),
    pair_key=np.array([0, 0, 1, 2, 3, 4]),
    pair_passage=np.array([0, 1, 0, 2, 0, 0]),
    factors=np.array([0.2, 1.0, 1.0, 1.0, 0.6, 0.3]),
    weights=np.array([3.0, 9.0, 2.0, 4.0, 1.0]),
)


def data(student, **options):
    chats = [Conversation.from_pairs([], text) for text in QUESTIONS]
    given = {
        "names": ["x", "y", "z"],
        "prompts": [{v.name: student.reader.prompt(c, v) for v in (TITLE, BODY)} for c in chats],
        "queries": [[22, 23], [], [1]],
        "golds": [np.array([0]), np.array([1, 2]), np.array([], np.int64)],
        "views": (TITLE, BODY),
        "texts": Texts(),
        "reader": student.reader,
        "end": END,
    }
    return GenerativeData(**given | options)


def listed(student, draw=None, gold="all", **options):
    pool = RankedPool.build(
        (name, Ranking(np.array([0, 1, 2], np.int64), np.array([3, 2, 1], np.float32))) for name in "xyz"
    )
    sampler = CandidateSampler(pool, draw or All(), gold=gold)
    return data(student, **{"keys": [KEYS] * 3, "sampler": sampler} | options)


def sequences(batch):
    return [row[mask].tolist() for row, mask in zip(batch.written, batch.written_mask, strict=True)]


def test_golds_are_written_in_every_view(student):
    batch = data(student).collate([0, 2], 0)
    title, body = sequences(batch)
    assert title == [10, END]
    assert body in ([20, 21, 22], [21, 22, 23], [22, 23, 24])
    assert batch.share.tolist() == [0.5, 0.5]
    assert batch.context_of.tolist() == [0, 0]  # z has no gold: nothing to write, nothing to ask
    assert batch.prompt_of.tolist() == [0, 1]
    assert batch.mask.shape == (2, 0)
    assert (batch.likelihood, batch.names) == (True, ("x", "z"))
    prompt = batch.prompts[0][batch.prompt_mask[0]].tolist()
    assert tuple(prompt) == student.reader.prompt(Conversation.from_pairs([], QUESTIONS[0]), TITLE)


def test_spans_follow_weights_epochs_and_the_query(student):
    views = (View("title", "\nTitle:", weight=3.0), BODY)
    batch = data(student, views=views, spans=2, temperature=0.01).collate([0], 0)
    assert batch.share.tolist() == pytest.approx([0.75, 0.125, 0.125])
    assert sorted(sequences(batch)[1:]) == [[21, 22, 23], [22, 23, 24]]  # the two that hold 22 and 23
    seen = {tuple(map(tuple, sequences(data(student).collate([1], epoch)))) for epoch in range(20)}
    assert len(seen) > 3
    assert {one[0] for one in seen} == {(11, END), (12, END)}  # either gold
    again = data(student).collate([1], 7)
    assert torch.equal(again.written, data(student).collate([1], 7).written)
    silent = data(student, golds=[np.array([9])] * 3).collate([0], 0)  # a passage without texts
    assert student(silent).token_loss.item() == 0


def test_keys_score_listed_passages_and_beginnings_share_a_sequence(student):
    batch = listed(student, views=(), labels=[{0: 1, 2: 0}] * 3).collate([0], 0)
    written = sequences(batch)
    assert sorted(written) == [[10, END], [20, 21, 22], [30]]
    keys = {
        tuple(written[batch.keys[0, k]][: batch.key_length[0, k]]): batch.factors[0, :, k].tolist() for k in range(5)
    }
    assert keys == {
        (20, 21): pytest.approx([0.2, 1.0, 0.0]),
        (20, 21, 22): pytest.approx([1.0, 0.0, 0.0]),
        (30,): [0.0, 0.0, 1.0],
        (10, END): pytest.approx([0.6, 0.0, 0.0]),
        (10,): pytest.approx([0.3, 0.0, 0.0]),
    }
    assert batch.targets.order.tolist() == [[1, -1, 0]]
    assert batch.targets.gold.tolist() == [[True, False, False]]
    assert batch.likelihood is False
    assert student(batch).token_loss is None
    few = listed(student, views=(), most_keys=2).collate([0], 0)
    assert sorted(sequences(few)) == [[10, END], [20, 21, 22]]  # weights 9 and 4


def test_keys_of_passages_that_are_not_listed_are_left_out(student):
    one = listed(student, views=(), draw=UniformBand(1, 1, 1), gold="none")
    batch = one.collate([0, 1], 0)
    assert sorted(sequences(batch.part(0, 1))) == [[10, END], [20, 21, 22]]
    assert batch.mask.tolist() == [[True], [True]]
    np.testing.assert_allclose(KEYS.matrix(np.array([2, 7, 0]))[:, 2], [1, 0, 0])
    assert not KEYS.matrix(np.array([5, 6])).any()


def test_several_lists_a_context_are_drawn_each_anew(student):
    made = listed(student, draw=UniformBand(1, 2, 3), gold="one", lists=2)
    assert len(made.lengths) == 6
    batch = made.collate([0, 1], 3)
    assert batch.names == ("x", "x")
    drawn = {tuple(made._listed(0, draw)[0].tolist()) for draw in range(12)}
    assert drawn == {(0, 1), (0, 2)}


def test_scores_and_lists_without_a_label(student):
    batch = listed(student, kind="scores", labels=[{0: 0.5}, {1: 2.0, 2: 1.0}, {}], views=(), gold="none").collate(
        [0, 1, 2], 0
    )
    assert batch.mask.tolist() == [[True, False], [True, True], [False, False]]
    assert batch.targets.scores[1].tolist() == [2.0, 1.0]
    output = student(batch)
    assert output.scores.isfinite().all()
    assert (output.scores[2] == 0).all()


def test_both_trainings_go_through_the_one_loop(student, tmp_path):
    import copy

    twin = copy.deepcopy(student)
    before = Likelihood()(twin(data(twin).collate([0, 1], 0)), None).item()
    one = TrainSettings(epochs=15, batch_size=1, accumulate=2, lr=5e-3)
    train(twin, data(twin), Likelihood(), one, folder=tmp_path / "one")
    after = Likelihood()(twin(data(twin).collate([0, 1], 0)), None).item()
    assert after < before - 0.5
    labels = [{2: 0, 1: 1, 0: 2}] * 3
    rare = [replace(KEYS, prior=KEYS.prior - 30)] * 3  # a key that is likelier without the query has no gradient
    made = listed(twin, keys=rare, labels=labels, gold="none", lists=2)
    objective = WeightedSum(((1.0, RankGap(relative=True)), (0.1, Likelihood())))
    losses = []
    two = TrainSettings(epochs=12, batch_size=2, accumulate=2, lr=3e-3)
    train(twin, made, objective, two, watch=lambda tick: losses.append(tick.loss))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    scores = twin(made.collate([0], 0)).scores[0]
    assert scores[2] > scores[0]  # as the teacher has it; the keys had it the other way round


def test_what_does_not_fit_is_refused(student):
    with pytest.raises(TrainingError, match="contexts"):
        data(student, golds=[])
    with pytest.raises(TrainingError, match="both or neither"):
        data(student, keys=[KEYS] * 3)
    with pytest.raises(TrainingError, match="no view"):
        data(student, views=())
    for name in ("spans", "lists", "most_keys"):
        with pytest.raises(TrainingError, match=name):
            data(student, **{name: 0})
