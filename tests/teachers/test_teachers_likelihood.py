"""Likelihood: what a local model gives a text, per token, and what of it is the context's doing."""

import asyncio

import pytest
import torch
from table_model import Table, by_context

from distillir.conversation import Conversation
from distillir.errors import ConfigError, LabelError
from distillir.labels import LabelStore
from distillir.teachers import Likelihood, Message, Score, Scored, Usage
from distillir.teachers.likelihood import LikelihoodSettings, LikelihoodTeacher
from distillir.teachers.teacher import Candidates, estimate_teacher, teach, teach_async

CHAT = Conversation.from_pairs([("Do you like tea?", "I do.")], "Which kind?")
REPLIES = Candidates("c", "Which kind?", {"g": "Green tea.", "b": "No idea."}, CHAT)
QUERIES = Candidates("q", "who wrote it?", {"a": "Ann wrote it.", "b": "It rains."})


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def scored(question):
    """−1 a letter of the continuation, half as much when anything precedes it; 2 tokens."""
    weight = 0.5 if question.prompt else 1.0
    return Scored(Likelihood(-weight * len(question.continuation), 2), Usage(5, 0, calls=1, attempts=1), "m")


def test_a_query_is_scored_behind_each_document(store):
    model = Table(scored)
    teach(LikelihoodTeacher([QUERIES]), model, store)
    assert {q.prompt: q.continuation for q in model.questions} == {
        "Passage: Ann wrote it.\n\nA question that this passage answers:": " who wrote it?",
        "Passage: It rains.\n\nA question that this passage answers:": " who wrote it?",
    }
    label = by_context(store, "likelihood")["q"]
    assert label.value == {"a": -3.5, "b": -3.5}  # 14 letters · ½ / 2 tokens
    assert (label.scale, label.attempts) == ("logprob_per_token", 0)


def test_responses_are_scored_in_the_chat(store):
    model = Table(scored)
    teach(LikelihoodTeacher([REPLIES], LikelihoodSettings(of="response", per_token=False)), model, store)
    question = model.questions[0]
    assert question.continuation == "Green tea."
    assert question.prompt[0].role == "system"
    assert question.prompt[1:] == (
        Message("user", "Do you like tea?"), Message("assistant", "I do."), Message("user", "Which kind?")
    )  # fmt: skip
    label = by_context(store, "likelihood")["c"]
    assert (label.value, label.scale) == ({"g": -5.0, "b": -4.0}, "logprob")


def test_mutual_information_subtracts_what_a_response_has_by_itself(store):
    model = Table(scored)
    how = LikelihoodSettings(of="mutual", prior=0.5, per_token=False)
    twice = [REPLIES, Candidates("d", "?", {"x": "Green tea."}, Conversation.from_pairs([], "Coffee?"))]
    teacher = LikelihoodTeacher(twice, how)
    outcome = teach(teacher, model, store)
    found = by_context(store, "likelihood")
    assert found["c"].value == {"g": -5.0 + 0.5 * 10, "b": -4.0 + 0.5 * 8}
    assert found["c"].scale == "mutual_information"
    assert [q.continuation for q in model.questions if q.prompt == ""] == ["Green tea.", "No idea."]  # each once
    assert outcome.progress.done == teacher.total == 7
    half = LikelihoodSettings(of="mutual", prior=1.0)
    teach(LikelihoodTeacher(twice, half), model, store)
    assert by_context(store, "likelihood")["c"].value == {"g": 2.5, "b": 2.0}  # per token, λ = 1
    assert len(model.questions) == 5  # another λ costs no call


def test_settings_and_candidates_are_checked():
    with pytest.raises(ConfigError, match="of is query, response, mutual"):
        LikelihoodSettings(of="document")
    with pytest.raises(LabelError, match="no conversation of context 'q'"):
        LikelihoodTeacher([QUERIES], LikelihoodSettings(of="response"))


def test_a_prompt_of_ones_own(store, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('text: "{document} =>"\ncontinuation: "{query}"\n', encoding="utf-8")
    model = Table(scored)
    teach(LikelihoodTeacher([QUERIES], LikelihoodSettings(prompt=path)), model, store)
    assert model.questions[0] == Score("Ann wrote it. =>", "who wrote it?")


def test_the_estimate(store):
    teacher = LikelihoodTeacher([REPLIES], LikelihoodSettings(of="mutual"))
    told = estimate_teacher(teacher, "table@1", store)
    assert (told.calls, told.tokens_out, told.at_most) == (4, 0, 0.0)


def test_an_endpoint_cannot_score_and_says_so(store):
    from distillir.errors import ModelError
    from distillir.teachers import Endpoint, EndpointSettings

    endpoint = Endpoint(EndpointSettings("m", base_url="http://127.0.0.1:9/v1", key_env=None))
    with pytest.raises(ModelError, match="no way to ask for the likelihood"):
        teach(LikelihoodTeacher([QUERIES]), endpoint, store)


def test_it_equals_the_loss_of_transformers_on_the_same_tokens(smollm2, store):
    asyncio.run(teach_async(LikelihoodTeacher([QUERIES]), smollm2, store))
    how = LikelihoodSettings(of="mutual", name="mutual")
    asyncio.run(teach_async(LikelihoodTeacher([REPLIES], how), smollm2, store))
    lm = smollm2._lm

    def loss(before, continuation):
        """Mean negative log P of the continuation's tokens, by the model's own loss."""
        after = lm.encode(continuation)
        labels = torch.tensor([[-100] * len(before) + after])
        with torch.no_grad():
            return float(lm.model(torch.tensor([before + after]), labels=labels, use_cache=False).loss)

    queries = by_context(store, "likelihood")["q"].value
    for name, text in QUERIES.texts.items():
        prompt = lm.encode(f"Passage: {text}\n\nA question that this passage answers:")
        assert queries[name] == pytest.approx(-loss(prompt, " who wrote it?"), abs=1e-4)
    assert queries["a"] > queries["b"]
    system = Message("system", "You are a friendly conversation partner. Reply in one or two sentences.")
    chat = lm.encode_chat((system, *(Message(turn.role, turn.content) for turn in CHAT.turns)))
    for name, text in REPLIES.texts.items():
        expected = -loss(chat, text) + loss(lm.start(), text)
        assert by_context(store, "mutual")["c"].value[name] == pytest.approx(expected, abs=1e-3)
