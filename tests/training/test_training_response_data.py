"""Batches of a response student: candidates, negatives and scores are those of the set, whoever collates them."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from distillir.data import Response, ResponseSet
from distillir.errors import ObjectiveError, TrainingError
from distillir.objectives import KLD, InfoNCE, WeightedSum
from distillir.rendering import RenderSettings
from distillir.students.dense import DenseSettings, DenseStudent
from distillir.students.response import ResponseStudent
from distillir.training import ResponseData, TrainSettings, train

COUNT = 40
SET = ResponseSet([Response(f"r{i}", f"said {i}") for i in range(COUNT)])
NAMES = [f"c{i}" for i in range(6)]
OWN = [np.array([i, (i + 7) % COUNT, 30], np.int64)[: 1 + i % 3] for i in range(6)]
SCORES = [{int(p): float(-p - i) for p in own} for i, own in enumerate(OWN)]
G2R = WeightedSum(((0.9, InfoNCE(own_list=False)), (0.1, KLD(shared=True))))


def tokens(text: str) -> list[int]:
    """Told apart by a token; as long as the number says."""
    number = int(text.split()[1])
    return [2, 4 + number % 20, *[4] * (number // 20), 3]


def data(**options) -> ResponseData:
    given = {"names": NAMES, "ids": [list(range(2, 5 + i)) for i in range(6)], "positives": OWN, "responses": SET}
    return ResponseData(**{**given, "tokens": tokens, "pad_id": 0, "scores": SCORES, "negatives": 12, **options})


def said(batch) -> list[list[int]]:
    return [chunk.ids[i][chunk.mask[i]].tolist() for chunk in batch.chunks for i in range(len(chunk.ids))]


@pytest.mark.parametrize("budget", [10, 1 << 16])
def test_a_batch_is_what_the_set_and_the_labels_say(budget):
    made = data(budget=budget)
    rows = [5, 1, 3]
    batch = made.collate(rows, 0)
    every = said(batch)
    assert (len(batch.chunks) > 1) == (budget == 10)
    assert sorted(every) == sorted(map(list, {tuple(one) for one in every}))  # each response once
    negatives = [every[i] for i in batch.shared.tolist()]
    assert len(negatives) == 12
    for b, row in enumerate(rows):
        n = len(OWN[row])
        assert (batch.candidates[b] >= 0).tolist() == [True] * n + [False] * (batch.candidates.shape[1] - n)
        assert [every[i] for i in batch.candidates[b, :n].tolist()] == [tokens(SET.text(p)) for p in OWN[row]]
        assert batch.targets.scores[b, :n].tolist() == [SCORES[row][p] for p in OWN[row].tolist()]
        mine = [tokens(SET.text(p)) for p in OWN[row]]
        assert batch.shared_mask[b].tolist() == [one not in mine for one in negatives]
        assert batch.ids[b][batch.mask[b]].tolist() == made.ids[row]
    assert torch.equal(batch.targets.gold, batch.candidates >= 0)
    assert batch.names == ("c5", "c1", "c3")


def test_negatives_are_drawn_from_the_whole_set_and_less_ones_own():
    everything = data(negatives=1000).collate(range(6), 0)
    assert len(everything.shared) == COUNT  # a small set is drawn whole
    assert everything.shared_mask.sum(1).tolist() == [COUNT - len(own) for own in OWN]
    seen = {tuple(said(batch)[i]) for e in range(40) for batch in [data().collate([0], e)] for i in batch.shared}
    assert len(seen) == len({tuple(tokens(SET.text(i))) for i in range(COUNT)})


def test_a_batch_is_a_function_of_its_arguments():
    one, two = data(), data()
    first = one.collate([3, 4], 1)
    one.collate([0], 0)
    again, other, seeded = two.collate([3, 4], 1), two.collate([3, 4], 2), data(seed=1).collate([3, 4], 1)
    assert said(first) == said(again)
    assert torch.equal(first.shared, again.shared)
    assert said(other) != said(first) != said(seeded)


def test_many_candidates_are_drawn_from_and_unscored_ones_left():
    many = [np.arange(i, i + 20, dtype=np.int64) for i in range(6)]
    made = data(positives=many, scores=None, own=4)
    drawn = [said(b)[i] for b in [made.collate([2], 0)] for i in b.candidates[0].tolist()]
    assert len({tuple(one) for one in drawn}) == 4
    assert all(one in [tokens(SET.text(p)) for p in many[2]] for one in drawn)
    assert made.collate([2], 0).targets.provides() == {"gold"}
    scored = data(positives=many, scores=[{int(own[1]): -2.0} for own in many])
    batch = scored.collate([0, 1], 0)
    assert [said(batch)[i] for i in batch.candidates[:, 0].tolist()] == [tokens(SET.text(1)), tokens(SET.text(2))]
    assert not batch.shared_mask[0][[said(batch)[i] == tokens(SET.text(0)) for i in batch.shared.tolist()]].any()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ids": [[2, 3]]}, "one of each"),
        ({"scores": SCORES[:2]}, "one of each"),
        ({"negatives": 0}, "1 or more"),
        ({"own": 0}, "1 or more"),
        ({"positives": [*OWN[:5], np.empty(0, np.int64)]}, "'c5' has no candidate"),
        ({"scores": [*SCORES[:5], {}]}, "'c5' has no candidate"),
    ],
)
def test_what_does_not_fit_is_refused(options, why):
    with pytest.raises(TrainingError, match=why):
        data(**options)


def student(seed: int = 0) -> ResponseStudent:
    torch.manual_seed(seed)
    shape = {"num_attention_heads": 2, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24}
    model = BertModel(BertConfig(vocab_size=28, max_position_embeddings=32, **shape), add_pooling_layer=False).eval()
    names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]")), **names
    )
    settings = DenseSettings(render=RenderSettings(max_length=24), document_length=16)
    return ResponseStudent(DenseStudent(model, tokenizer, settings))


def test_the_loop_learns_to_find_the_own_candidates():
    made = data(ids=[[2, 5 + i, 3] for i in range(6)])
    trained, settings = student(), TrainSettings(lr=1e-2, batch_size=3, epochs=25, warmup=0.0)
    before = float(G2R(*scored(trained, made)))
    train(trained, made, G2R, settings)
    assert float(G2R(*scored(trained, made))) < 0.4 * before


def scored(trained, made):
    batch = made.collate(range(6), 99)
    trained.eval()
    with torch.no_grad():
        return trained(batch), batch.targets


def test_accumulated_parts_step_like_the_whole_batch():
    steps = {}
    for size, accumulate in ((6, 1), (2, 3)):
        one = student()
        for module in one.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        settings = TrainSettings(lr=1e-3, batch_size=size, accumulate=accumulate, epochs=1, warmup=0.0)
        train(one, data(), G2R, settings)
        steps[size] = torch.cat([p.detach().flatten() for p in one.parameters()])
    assert (steps[6] - torch.cat([p.detach().flatten() for p in student().parameters()])).abs().max() > 1e-4
    torch.testing.assert_close(steps[2], steps[6], rtol=1e-4, atol=2e-5)


def test_an_objective_that_needs_a_teacher_is_refused_without_one():
    with pytest.raises(ObjectiveError, match="scores"):
        train(student(), data(scores=None), G2R, TrainSettings(lr=1e-3, epochs=1))
