import pytest
import torch

from distillir.conversation import Conversation
from distillir.students import SparseSettings, SparseStudent, by_turn, term_origins

CHAT = Conversation.from_pairs(
    [("who wrote dune", "Frank Herbert wrote it in 1965"), ("is there a film", "Villeneuve made one")], "and its music?"
)


@pytest.fixture(scope="module")
def student(splade_tiny):
    return SparseStudent.from_pretrained(splade_tiny, SparseSettings()).eval()


def test_terms_and_weights_are_the_query(student):
    row = student.encode_queries([CHAT])
    origins = term_origins(student, CHAT)
    expected = dict(zip(student.terms(row.indices.tolist()), row.values.tolist(), strict=True))
    assert {o.term: o.weight for o in origins} == pytest.approx(expected, abs=1e-5)
    assert [o.weight for o in origins] == sorted((o.weight for o in origins), reverse=True)


def test_each_origin_is_the_token_without_which_the_term_weighs_less(student):
    """Mask a token out of the head, not out of attention: only the terms said to come from it may change."""
    from distillir.students import backbone
    from distillir.students.head import splade_head

    rendered = student.render(CHAT)
    ids = torch.tensor([rendered.ids])
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    head = backbone.projection_of(student.model)
    with torch.inference_mode():
        states, gate = student.states(ids, everywhere)
        whole = splade_head(states, head.weight, head.bias, everywhere, gate)[0]
        for place, token in enumerate(student.terms(rendered.ids)):
            without = everywhere.clone()
            without[0, place] = False
            lost = splade_head(states, head.weight, head.bias, without, gate)[0] < whole - 1e-6
            for term in student.terms(lost.nonzero().view(-1).tolist()):
                origin = next(o for o in term_origins(student, CHAT) if o.term == term)
                assert (origin.token, origin.back) == (token, rendered.distances[place])


def test_roles_and_distances_name_the_turn(student):
    found = {o.term: (o.role, o.back) for o in term_origins(student, CHAT)}
    assert found["music"] == ("user", 0)
    assert found["dune"] == ("user", 2)


def test_by_turn_starts_with_the_open_question_and_loses_nothing(student):
    origins = term_origins(student, CHAT)
    turns = by_turn(origins)
    assert next(iter(turns)) == (0, "user")
    assert list(turns) == sorted(turns)
    assert sorted(o.term for turn in turns.values() for o in turn) == sorted(o.term for o in origins)


def test_a_question_that_activates_nothing_has_no_origins(student, monkeypatch):
    monkeypatch.setattr(student, "represent", lambda ids, mask: torch.zeros(1, student.dim))
    assert term_origins(student, CHAT) == []
    assert by_turn([]) == {}


def test_origins_of_a_query_that_exists_already(student):
    """Such as a quantised one: its own weights and terms, each where the student has its peak."""
    mine = {o.term: o for o in term_origins(student, CHAT)}
    row = student.encode_queries([CHAT])
    indices, values = row.indices[:5], row.values[:5] * 2
    origins = term_origins(student, CHAT, (indices, values))
    weights = dict(zip(student.terms(indices.tolist()), values.tolist(), strict=True))
    assert {o.term: o.weight for o in origins} == pytest.approx(weights)
    assert [o.weight for o in origins] == sorted(weights.values(), reverse=True)
    assert all((o.token, o.role, o.back) == (mine[o.term].token, mine[o.term].role, mine[o.term].back) for o in origins)
