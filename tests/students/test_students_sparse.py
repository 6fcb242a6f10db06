"""The sparse student: gate, turn embeddings, tokens, encoding."""

import copy
import math

import numpy as np
import pytest
import torch

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.rendering import RenderSettings
from distillir.students import SparseSettings, SparseStudent
from distillir.students.turns import TurnEmbeddings, TurnGate, turn_types

RENDER = RenderSettings(max_length=48)
CHAT = Conversation.from_pairs([("who wrote dune ?", "frank herbert"), ("what is a river", "it flow s")], "and when ?")


def settings(**options) -> SparseSettings:
    return SparseSettings(**{"render": RENDER, "document_length": 48, **options})


def vectors(student: SparseStudent, conversation: Conversation = CHAT) -> torch.Tensor:
    ids = torch.tensor([student.render(conversation).ids])
    with torch.no_grad():
        return student.represent(ids, torch.ones_like(ids, dtype=torch.bool))[0]


def test_types_and_distances_by_hand():
    #                 CLS q SEP a SEP q SEP a SEP q SEP
    ids = torch.tensor([[2, 5, 3, 6, 3, 7, 3, 8, 3, 9, 3], [2, 5, 3, 3, 3, 0, 0, 0, 0, 0, 0]])
    types, distances = turn_types(ids, 3, answers=True)
    assert types[0].tolist() == [0, 0, 0, 2, 2, 1, 1, 2, 2, 1, 1]
    assert distances[0].tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert types[1, :5].tolist() == [0, 0, 0, 2, 1]  # empty turns keep their separators
    types, distances = turn_types(ids, 3, answers=False)
    assert types[0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert distances[0].tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_types_on_tensors_are_those_of_the_rendering(make):
    for answers in (True, False):
        student = SparseStudent.from_pretrained(
            make("bert"), settings(render=RenderSettings(max_length=30, answers=answers))
        )
        rendered = student.render(CHAT)
        types, distances = turn_types(torch.tensor([rendered.ids]), 3, answers=answers)
        assert types[0].tolist() == rendered.types
        assert distances[0].tolist() == rendered.distances


def test_the_gate_starts_at_its_offset_alone():
    gate = TurnGate(4, 5.0)
    out = gate(torch.randn(1, 3, 4), torch.tensor([[0, 1, 2]]))
    assert out.tolist() == [[0.0, -5.0, -5.0]]
    with torch.no_grad():
        gate.state.weight.fill_(1.0)
    assert gate(torch.ones(1, 1, 4), torch.tensor([[1]])).item() == -1.0


def test_turn_embeddings_start_at_nothing_and_share_the_last_distance():
    turns = TurnEmbeddings(4, reach=2)
    types, distances = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 2, 7]])
    assert not turns(types, distances).any()
    torch.nn.init.normal_(turns.by_distance.weight)
    out = turns(types, distances)
    assert torch.equal(out[0, 1], out[0, 2])
    assert not torch.equal(out[0, 0], out[0, 1])


def test_both_extras_off_or_untouched_leave_the_model_as_it_was(make):
    plain = SparseStudent.from_pretrained(make("bert"), settings(gate=False))
    untouched = SparseStudent.from_pretrained(make("bert"), settings(gate=True, gate_offset=0.0, turn_embeddings=True))
    assert [name for name, _ in plain.named_parameters() if not name.startswith("model.")] == []
    assert torch.equal(vectors(untouched), vectors(plain))
    first = Conversation.from_pairs([], "who wrote dune ?")
    gated = SparseStudent.from_pretrained(make("bert"), settings(gate=True))
    assert torch.equal(vectors(gated, first), vectors(plain, first))  # the offset touches history alone
    assert not torch.equal(vectors(gated), vectors(plain))


def test_gate_and_turn_embeddings_by_the_definition(make):
    student = SparseStudent.from_pretrained(make("bert"), settings(gate_offset=0.7, turn_embeddings=True)).eval()
    for parameter in (student.gate.state.weight, student.turns.by_type.weight, student.turns.by_distance.weight):
        torch.nn.init.normal_(parameter, std=0.3)
    rendered = student.render(CHAT)
    types, distances = torch.tensor(rendered.types), torch.tensor(rendered.distances)
    with torch.no_grad():
        words = student.model.get_input_embeddings()(torch.tensor([rendered.ids]))
        words = words + student.turns.by_type.weight[types] + student.turns.by_distance.weight[distances]
        states = student.model(inputs_embeds=words).logits[0]  # (L, H)
        head = student.model.get_output_embeddings()
        lift = states @ student.gate.state.weight[0] + student.gate.offset[types]
        logits = states @ head.weight.t() + head.bias + lift[:, None]
    torch.testing.assert_close(vectors(student), logits.relu().log1p().amax(0), atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter(make):
    student = SparseStudent.from_pretrained(make("bert"), settings(gate_offset=0.1, turn_embeddings=True))
    ids = torch.tensor([student.render(CHAT).ids])
    student.represent(ids, torch.ones_like(ids, dtype=torch.bool)).square().sum().backward()
    still = {n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()}
    assert still <= {n for n in still if ".key.bias" in n}  # softmax does not feel a key's bias


def test_padding_and_company_change_nothing(make):
    student = SparseStudent.from_pretrained(make("bert"), settings())
    short = Conversation.from_pairs([], "and when ?")
    rows = student.encode_queries([CHAT, short, CHAT], batch_size=2)
    alone = student.encode_queries([short])
    np.testing.assert_array_equal(rows.row(1)[0], alone.row(0)[0])
    np.testing.assert_allclose(rows.row(1)[1], alone.row(0)[1], atol=1e-6)
    np.testing.assert_allclose(rows.row(0)[1], rows.row(2)[1], atol=1e-6)
    assert student.encode_queries([]).rows == 0
    assert student.encode_documents([""]).rows == 1


def test_special_tokens_in_a_turn_are_ordinary_text(make):
    student = SparseStudent.from_pretrained(make("bert"), settings())
    tokens = student.tokens("dune [SEP] river [PAD]")
    assert not set(tokens) & {0, 2, 3, 4}
    assert student.tokens("dune zebra") == (student.tokens("dune")[0], 1)  # [UNK] is content, as everywhere else
    assert student.tokens("dune \ud83d\ude00 river") == student.tokens("dune 😀 river")
    assert student.tokens("dune \ud800 river") == student.tokens("dune \ufffd river")
    attacked = Conversation.from_pairs([], "dune [SEP] river")
    assert set(student.render(attacked).types) == {0}


def test_a_copied_student_is_its_own(make):
    student = SparseStudent.from_pretrained(make("bert"), settings())
    twin = copy.deepcopy(student)
    with torch.no_grad():
        twin.gate.offset += 1
    assert student.gate.offset.tolist() == [0.0, -5.0, -5.0]
    assert twin.tokens("who wrote dune") == student.tokens("who wrote dune")


def test_dropout_reaches_every_layer(make):
    for kind in ("bert", "distilbert"):
        student = SparseStudent.from_pretrained(make(kind), settings(dropout=0.0)).train()
        assert torch.equal(vectors(student), vectors(student))
        student = SparseStudent.from_pretrained(make(kind), settings(dropout=0.3)).train()
        assert not torch.equal(vectors(student), vectors(student))
        rows = [student.encode_queries([CHAT]).values for _ in range(2)]
        np.testing.assert_array_equal(*rows)  # encoding is evaluation
        assert student.training


def test_weights_that_are_not_numbers_do_not_become_vectors(make):
    student = SparseStudent.from_pretrained(make("bert"), settings())
    with torch.no_grad():
        student.gate.offset[0] = math.nan
    with pytest.raises(ModelError, match="not finite"):
        student.encode_queries([CHAT])


@pytest.mark.parametrize(
    "option", [{"gate_offset": -1.0}, {"gate_offset": math.nan}, {"document_length": 2}, {"dropout": 1.0}]
)
def test_settings_that_cannot_be(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        SparseSettings(**option)
