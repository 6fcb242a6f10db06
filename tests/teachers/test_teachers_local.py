"""A local model: batches, shared prefixes, sampling, likelihoods."""

import asyncio
import math
import shutil
import threading

import pytest
import torch
from misbehaving import answers, user
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from distillir.errors import ConfigError, MissingDependencyError, ModelError
from distillir.teachers import Choose, Failure, Generate, Generated, LocalModel, LocalSettings, Message, Score
from distillir.teachers.batching import Batcher
from distillir.teachers.causal import CausalLM
from distillir.teachers.decoding import score, spellings
from distillir.teachers.packaged_llm import SMOLLM2

LONG = "Once upon a time there was a small model that was asked the same thing again and again. "


@pytest.fixture(scope="module")
def tiny(tiny_llm):
    return LocalModel(LocalSettings(str(tiny_llm), batch=4))


@pytest.fixture(scope="module")
def plain_model(tiny_llm):
    """The same weights, read by transformers alone."""
    return AutoModelForCausalLM.from_pretrained(tiny_llm).eval(), AutoTokenizer.from_pretrained(tiny_llm)


def plain_logprobs(plain_model, prompt, continuation):
    """Log P of each token of the continuation: one forward, no batch, no cache."""
    model, tokenizer = plain_model
    before = tokenizer(prompt, add_special_tokens=False).input_ids or [tokenizer.eos_token_id]
    after = tokenizer(continuation, add_special_tokens=False).input_ids
    with torch.no_grad():
        logprobs = model(torch.tensor([before + after]), use_cache=False).logits[0].log_softmax(-1)
    return [float(logprobs[len(before) - 1 + i, token]) for i, token in enumerate(after)]


def laid_out(text):
    return f"<user>{text}<eos><assistant>"


# Likelihoods


def test_likelihoods_equal_one_plain_forward_each(tiny, plain_model):
    pairs = [
        ("a", "b"),
        (LONG + "one", " two"),
        (LONG + "one", " three and four"),
        (LONG + "other", " two"),
        ("", "from nothing"),
        ("short", " and a continuation that is much longer than its prompt"),
        (LONG + "one", " two"),
    ]
    for pair, answer in zip(pairs, answers(tiny, *(Score(*pair) for pair in pairs)), strict=True):
        expected = plain_logprobs(plain_model, *pair)
        assert answer.likelihood.logprob == pytest.approx(sum(expected), abs=1e-4)
        assert answer.likelihood.tokens == len(expected)
        assert answer.likelihood.mean == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_a_shared_prompt_is_computed_once(tiny_llm, plain_model):
    lm = CausalLM.load(tiny_llm)
    prompt = LONG * 2
    size = len(lm.encode(prompt))
    questions = [Score(prompt, f" ending {i}") for i in range(8)]
    told = score(lm, questions, rows=4)
    assert lm.computed < size + 8 * 12  # without sharing: 8 · size
    assert [one.likelihood.logprob for one in told] == pytest.approx(
        [sum(plain_logprobs(plain_model, prompt, f" ending {i}")) for i in range(8)], abs=1e-4
    )
    before = lm.computed
    score(lm, [Score(prompt, " and one more")], rows=4)
    assert lm.computed - before < 15  # the states were kept
    score(lm, [Score(prompt + "Something else. ", " a"), Score(prompt + "Something else. ", " b")], rows=4)
    assert lm.computed - before < 15 + 25  # only what came after them was new


def test_contexts_of_different_beginnings_are_not_mixed_into_one_batch(tiny_llm):
    lm = CausalLM.load(tiny_llm)
    first, second = "A" + LONG, "B" + LONG
    size = len(lm.encode(first))
    score(lm, [Score(prompt, f" {i}") for i in range(3) for prompt in (first, second)], rows=8)
    assert lm.computed < 2 * size + 6 * 4


def test_a_model_whose_states_cannot_be_cut_shares_nothing_and_scores_the_same(tiny_llm, plain_model):
    lm = CausalLM.load(tiny_llm)
    lm._shares = False
    told = score(lm, [Score(LONG, " one"), Score(LONG, " two")], rows=4)
    assert lm.computed >= 2 * len(lm.encode(LONG))
    expected = [sum(plain_logprobs(plain_model, LONG, text)) for text in (" one", " two")]
    assert [one.likelihood.logprob for one in told] == pytest.approx(expected, abs=1e-4)


def test_a_sliding_window_is_seen(tiny_llm, tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, sliding_window=8,
    )  # fmt: skip
    torch.manual_seed(0)
    MistralForCausalLM(config).save_pretrained(tmp_path)
    for file in tiny_llm.glob("token*"):
        shutil.copy(file, tmp_path)
    lm = CausalLM.load(tmp_path)
    assert lm._shares is False
    told = score(lm, [Score(LONG, " one"), Score(LONG, " two")], rows=2)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    expected = [sum(plain_logprobs(plain, LONG, text)) for text in (" one", " two")]
    assert [one.likelihood.logprob for one in told] == pytest.approx(expected, abs=1e-4)


def test_a_chat_can_be_the_prompt_of_a_likelihood(tiny, plain_model):
    (answer,) = answers(tiny, Score(user("hi"), "hello"))
    assert answer.likelihood.logprob == pytest.approx(
        sum(plain_logprobs(plain_model, laid_out("hi"), "hello")), abs=1e-4
    )


# Replies


def test_greedy_replies_equal_those_of_transformers(tiny, plain_model):
    model, tokenizer = plain_model
    texts = ["hi", "a longer question than the first", "?"]
    got = answers(tiny, *(Generate(user(text), max_tokens=10, logprobs=True) for text in texts))
    config = GenerationConfig(max_new_tokens=10, do_sample=False, pad_token_id=0, eos_token_id=0)
    for text, answer in zip(texts, got, strict=True):
        prompt = torch.tensor([tokenizer(laid_out(text), add_special_tokens=False).input_ids])
        with torch.no_grad():
            out = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)
        tokens = out[0, prompt.shape[1] :].tolist()
        assert answer.texts == (tokenizer.decode([t for t in tokens if t], skip_special_tokens=True),)
        assert answer.finish == ("stop" if tokens[-1] == 0 else "length",)
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt.shape[1], len(tokens))
        # The likelihood of the reply is what scoring its tokens gives.
        with torch.no_grad():
            logprobs = model(out[:, :-1]).logits[0].log_softmax(-1)
        told = [float(logprobs[prompt.shape[1] - 1 + i, t]) for i, t in enumerate(tokens) if t]
        assert answer.likelihoods[0].logprob == pytest.approx(sum(told), abs=1e-4)
        assert answer.likelihoods[0].tokens == len(told)


def test_a_sampled_reply_depends_on_its_seed_and_not_on_its_batch(tiny):
    def ask(text, seed):
        return Generate(user(text), max_tokens=12, temperature=1.0, n=2, seed=seed)

    together = answers(tiny, ask("hi", 1), ask("something of another length", 2), ask("hi", 3))
    (alone,) = answers(tiny, ask("hi", 1))
    assert together[0].texts == alone.texts
    assert len({*together[0].texts, *together[2].texts}) == 4
    (free,) = answers(tiny, Generate(user("hi"), max_tokens=12, temperature=1.0, n=4))
    assert len(set(free.texts)) == 4


def test_samples_follow_the_model_at_its_temperature(tiny, plain_model):
    model, tokenizer = plain_model
    prompt = torch.tensor([tokenizer(laid_out("hi"), add_special_tokens=False).input_ids])
    with torch.no_grad():
        expected = (model(prompt).logits[0, -1] / 0.5).softmax(-1)
    (answer,) = answers(tiny, Generate(user("hi"), max_tokens=1, temperature=0.5, n=600, seed=9))
    best = int(expected.argmax())
    share = sum(text == tokenizer.decode([best]) for text in answer.texts) / 600
    p = float(expected[best])
    assert 0.02 < p < 0.98
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 600)


def test_a_stop_text_ends_the_reply_and_is_not_part_of_it(tiny):
    (whole,) = answers(tiny, Generate(user("hi"), max_tokens=12))
    text = whole.texts[0]
    stop = text[4:6]
    (cut,) = answers(tiny, Generate(user("hi"), max_tokens=12, stop=("never found", stop)))
    assert cut.texts == (text[: text.index(stop)],)
    assert cut.finish == ("stop",)
    assert cut.usage.completion_tokens < whole.usage.completion_tokens


def test_the_best_beam_is_at_least_as_likely_as_greedy(tiny):
    greedy, beams = answers(
        tiny,
        Generate(user("hi"), max_tokens=6, logprobs=True),
        Generate(user("hi"), max_tokens=6, beams=4, n=3, logprobs=True),
    )
    told = [one.logprob for one in beams.likelihoods]
    assert len(set(beams.texts)) == 3
    assert told[0] >= greedy.likelihoods[0].logprob - 1e-4
    assert told == sorted(told, reverse=True)


def test_what_does_not_fit_is_refused_one_by_one(tiny):
    long = user("x" * 300)
    got = answers(tiny, Generate(user("hi"), max_tokens=2), Generate(long, max_tokens=2), Score("x" * 200, "y" * 100))
    assert isinstance(got[0], Generated)
    assert [answer.reason for answer in got[1:]] == ["too_long"] * 2
    assert "the model holds 256" in got[1].detail
    (choice,) = answers(tiny, Choose(long))
    assert choice.reason == "too_long"


def test_half_a_character_breaks_no_batch(tiny):
    broken, fine = answers(tiny, Generate(user("a \ud83d"), max_tokens=2), Generate(user("b"), max_tokens=2))
    assert isinstance(broken, Generated)
    assert isinstance(fine, Generated)


# Choices


def test_a_choice_is_exact_and_sums_spellings(tiny, plain_model):
    model, tokenizer = plain_model
    prompt = torch.tensor([tokenizer(laid_out("well?"), add_special_tokens=False).input_ids])
    with torch.no_grad():
        p = model(prompt).logits[0, -1].softmax(-1)
    yes = [tokenizer.convert_tokens_to_ids(token) for token in ("yes", "Yes", "Ġyes")]
    no = [tokenizer.convert_tokens_to_ids(token) for token in ("no", "No")]
    first, second = answers(tiny, Choose(user("well?")), Choose(user("a longer question")))
    assert first.logprobs == pytest.approx((math.log(p[yes].sum()), math.log(p[no].sum())), abs=1e-5)
    assert first.bounded == ()
    assert second.logprobs != first.logprobs


def test_a_word_without_a_token_of_its_own_is_refused(tiny):
    with pytest.raises(ModelError, match="no single token spells 'perhaps'"):
        answers(tiny, Choose(user("hi"), ("yes", "perhaps")))


# Batches


def test_questions_asked_at_once_share_a_batch_and_its_time(tiny):
    got = answers(tiny, *(Score("a", f" {i}") for i in range(8)))
    assert len({answer.usage.seconds for answer in got}) == 2  # two batches of four
    assert all((answer.usage.calls, answer.usage.attempts) == (1, 1) for answer in got)


def test_the_batcher_groups_by_kind_and_keeps_going_after_an_error():
    seen = []

    def work(batch):
        seen.append((threading.current_thread() is threading.main_thread(), batch))
        if "bad" in batch:
            raise ValueError("no")
        return [text.upper() for text in batch]

    async def main():
        batcher = Batcher(3, len, work)
        asked = [asyncio.create_task(batcher.ask(text)) for text in ("ab", "c", "de", "bad", "fg", "hi", "jk")]
        asked[5].cancel()
        told = await asyncio.gather(*asked, return_exceptions=True)
        return told, await batcher.ask("x")

    told, later = asyncio.run(main())
    assert seen == [
        (False, ["ab", "de", "fg"]),
        (False, ["c"]),
        (False, ["bad"]),
        (False, ["jk"]),
        (False, ["x"]),
    ]
    assert [str(one) for one in told] == ["AB", "C", "DE", "no", "FG", "", "JK"]
    assert isinstance(told[3], ValueError)
    assert later == "X"


# Reading models


def test_the_name_tells_the_weights(tiny, tiny_llm, tmp_path):
    answers(tiny)
    name = tiny.name
    assert name.startswith(f"{tiny_llm.name}@")
    changed = tmp_path / tiny_llm.name
    shutil.copytree(tiny_llm, changed)
    data = bytearray((changed / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (changed / "model.safetensors").write_bytes(data)
    other = LocalModel(str(changed))
    answers(other)
    assert other.name != name
    assert other.name.split("@")[0] == tiny_llm.name


def test_a_model_is_open_before_it_is_asked():
    with pytest.raises(ModelError, match="has not been read"):
        asyncio.run(LocalModel("x").ask(Score("a", "b")))
    with pytest.raises(ModelError, match="has not been read"):
        _ = LocalModel("x").name


def test_what_is_no_language_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read as a causal language model"):
        answers(LocalModel(str(tmp_path)))
    with pytest.raises(ModelError, match=r"is no file .* smollm2-135m"):
        answers(LocalModel(str(tmp_path / "x.gguf")))
    (tmp_path / "y.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="is no GGUF file"):
        answers(LocalModel(str(tmp_path / "y.gguf")))
    with pytest.raises(ConfigError, match="batch 0"):
        LocalSettings("x", batch=0)
    with pytest.raises(ModelError, match="no number format 'int5'"):
        answers(LocalModel(LocalSettings(str(tmp_path), dtype="int5")))


def test_an_encoder_is_refused(tiny_llm, tmp_path):
    from transformers import BertConfig, BertModel

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=300, is_decoder=True, **shape)).save_pretrained(tmp_path)
    for file in tiny_llm.glob("token*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(ModelError, match="lacks weights of a causal language model: cls"):
        answers(LocalModel(str(tmp_path)))


def test_a_model_without_a_chat_template_cannot_chat(tiny_llm, tmp_path):
    shutil.copytree(tiny_llm, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").unlink()
    got = answers(LocalModel(str(tmp_path)), Generate(user("hi")), Score("a", "b"))
    assert (got[0].reason, isinstance(got[1], Failure)) == ("refused", False)
    assert "chat template" in got[0].detail


def test_bounds_are_never_below_what_is_used(tiny):
    questions = [
        Generate(user("hi ☃"), max_tokens=3),
        Generate((Message("system", "s"), Message("user", "u")), max_tokens=3, temperature=1, n=3),
        Choose(user("é")),
        Score("prompt", " é"),
        Score(user("hi"), "x"),
    ]
    for question, answer in zip(questions, answers(tiny, *questions), strict=True):
        bound = tiny.bound(question)
        assert answer.usage.prompt_tokens <= bound.prompt_tokens
        assert answer.usage.completion_tokens <= bound.completion_tokens
    assert tiny.bound(questions[1]).completion_tokens == 9
    assert tiny.in_flight == 8


# The small real model


def test_the_real_model_knows_a_capital_and_says_how_likely(smollm2):
    france = Generate(user("What is the capital of France?"), max_tokens=12, logprobs=True)
    reply, paris, london = answers(
        smollm2,
        france,
        Score("The capital of France is", " Paris"),
        Score("The capital of France is", " London"),
    )
    assert reply.texts == ("The capital of France is Paris.",)
    assert reply.finish == ("stop",)
    assert reply.model_id == smollm2.name == f"smollm2-135m@{SMOLLM2.sha256[:8]}"
    assert paris.likelihood.tokens == london.likelihood.tokens == 1
    assert -1 < paris.likelihood.mean < 0
    assert london.likelihood.mean < paris.likelihood.mean - 2


def test_the_real_model_scores_alike_with_and_without_a_shared_prefix(smollm2):
    lm = smollm2._lm
    prompt = "Question: who wrote Dune, and when?\nAnswer: it was written by"
    endings = [" Frank Herbert", " a robot in 1700", " Frank"]
    shared = score(lm, [Score(prompt, text) for text in endings], rows=3)
    lm._shares, shares = False, lm._shares
    try:
        plain = [score(lm, [Score(prompt, text)], rows=1)[0] for text in endings]
    finally:
        lm._shares = shares
    assert shares
    for one, other in zip(shared, plain, strict=True):
        assert one.likelihood.logprob == pytest.approx(other.likelihood.logprob, abs=1e-4)
    assert shared[0].likelihood.mean > shared[1].likelihood.mean


def test_the_real_model_chooses(smollm2):
    (answer,) = answers(smollm2, Choose(user("Is the sky blue? Answer yes or no.")))
    assert all(-8 < logprob < 0 for logprob in answer.logprobs)
    assert len(spellings(smollm2._lm, "yes")) >= 4


def test_a_gguf_file_needs_its_reader(smollm2_gguf, monkeypatch):
    monkeypatch.setattr("distillir.teachers.causal.find_spec", lambda name: None)
    with pytest.raises(
        MissingDependencyError, match=r"'gguf' is not installed → pip install \"distillir\[local-llm\]\""
    ):
        CausalLM.load(smollm2_gguf.parent, smollm2_gguf.name)


@pytest.mark.slow
def test_a_gguf_file_reads_the_same_as_its_copy_in_safetensors(smollm2, smollm2_gguf):
    direct = CausalLM.load(smollm2_gguf.parent, smollm2_gguf.name)
    weights = dict(smollm2._lm.model.state_dict())
    assert direct.model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in direct.model.state_dict().items())
    text = "Who wrote Dune?"
    assert direct.encode(text) == smollm2._lm.encode(text)
