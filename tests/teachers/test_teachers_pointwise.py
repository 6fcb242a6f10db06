"""Pointwise: yes against no, and a cross-encoder's logit."""

import asyncio
import math

import pytest
import torch
from table_model import Table, by_context

from distillir.errors import ConfigError, ModelError
from distillir.labels import LabelStore
from distillir.teachers import Choose, Chosen, Failure, Generate, Message, Usage
from distillir.teachers.cross_encoder import CrossEncoderModel, CrossEncoderSettings, Pair, log_sigmoid
from distillir.teachers.pointwise import Pointwise, PointwiseSettings
from distillir.teachers.teacher import Candidates, estimate_teacher, teach, teach_async

FRUIT = Candidates("c", "which fruit?", {"a": "an apple", "b": "a brick", "p": "a pear"})


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        yield opened


def chosen(yes, no, bounded=()):
    return Chosen((yes, no), Usage(9, 1, 0.1, calls=1, attempts=1), "m", bounded)


def judge(text):
    return chosen(-0.5, -2.5) if "apple" in text else chosen(-4.0, -0.1) if "brick" in text else chosen(-1.0, -1.0)


def test_the_score_is_the_difference_of_the_logits(store):
    model = Table(judge)
    outcome = teach(Pointwise([FRUIT]), model, store)
    label = by_context(store, "pointwise")["c"]
    assert label.value == pytest.approx({"a": 2.0, "b": -3.9, "p": 0.0})
    assert (label.scale, label.status, label.attempts) == ("logit", "ok", 0)
    assert outcome.progress.done == outcome.progress.total == 4
    question = model.questions[0]
    assert question.words == ("yes", "no")
    assert question.messages[-1].content.startswith("Question: which fruit?\n\nPassage: an apple\n")
    pairs = {row.context_ids[0]: row.label for row in store.rows("pointwise/pairs")}
    assert set(pairs) == {"c#a", "c#b", "c#p"}
    assert pairs["c#a"].value == [{"text": "yes", "log_likelihood": -0.5}, {"text": "no", "log_likelihood": -2.5}]
    assert (pairs["c#a"].scale, pairs["c#a"].tokens_in) == ("logprob", 9)


def test_another_formula_asks_nobody(store):
    model = Table(judge)
    teach(Pointwise([FRUIT]), model, store)
    teach(Pointwise([FRUIT], PointwiseSettings(score="log_probability")), model, store)
    assert sum(model.asked.values()) == 3
    label = by_context(store, "pointwise")["c"]
    assert label.value == pytest.approx({"a": -math.log1p(math.exp(-2)), "b": -3.9 - math.log1p(math.exp(-3.9)),
                                         "p": math.log(0.5)})  # fmt: skip
    assert label.scale == "log_probability"


def test_a_stopped_ranking_goes_on_pair_by_pair(store):
    def failing(text):
        return Failure("timeout", "slow") if "brick" in text else judge(text)

    assert teach(Pointwise([FRUIT]), Table(failing), store).failures == {"timeout": 1}
    assert by_context(store, "pointwise") == {}
    model = Table(judge)
    teach(Pointwise([FRUIT]), model, store)
    assert len(model.asked) == 1
    assert set(by_context(store, "pointwise")["c"].value) == {"a", "b", "p"}


def test_words_an_endpoint_does_not_list_are_told(store):
    def rare(text):
        return chosen(-1, -9, ("no",)) if "apple" in text else chosen(-9, -9, ("yes", "no"))

    teach(Pointwise([FRUIT]), Table(rare), store)
    label = by_context(store, "pointwise")["c"]
    assert (label.value, label.status, label.reason) == ({"a": 8.0}, "repaired", "missing:2; bounded:1")


def test_scores_of_nothing_are_malformed(store):
    teach(Pointwise([FRUIT]), Table(lambda _: chosen(-9, -9, ("yes", "no"))), store)
    assert by_context(store, "pointwise")["c"].status == "malformed"


def test_a_score_that_is_no_number_never_reaches_the_store(store):
    model = Table(lambda text: chosen(-math.inf, -1.0) if "brick" in text else judge(text))
    assert teach(Pointwise([FRUIT]), model, store).failures == {"teacher": 1}
    assert by_context(store, "pointwise") == {}
    assert len(store) == 2


def test_the_estimate_counts_pairs(store):
    teacher = Pointwise([FRUIT])
    told = estimate_teacher(teacher, "table@1", store)
    assert (told.calls, told.tokens_out) == (3, 3)
    teach(teacher, Table(judge), store)
    assert estimate_teacher(teacher, "table@1", store).calls == 0


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="score is logit"):
        PointwiseSettings(score="probability")


@pytest.mark.parametrize("margin", [-800.0, -3.0, 0.0, 3.0, 800.0])
def test_log_sigmoid_neither_overflows_nor_loses_the_margin(margin):
    expected = float(torch.nn.functional.logsigmoid(torch.tensor(margin, dtype=torch.float64)))
    assert log_sigmoid(margin) == pytest.approx(expected, abs=1e-12)
    assert log_sigmoid(margin) - log_sigmoid(-margin) == pytest.approx(margin, rel=1e-12)


def test_the_small_real_model_tells_yes_from_no_as_one_plain_forward_does(smollm2, store):
    asyncio.run(
        teach_async(
            Pointwise([Candidates("c", "Who wrote Hamlet?", {"s": "Shakespeare wrote Hamlet."})]), smollm2, store
        )
    )
    (row,) = store.rows("pointwise/pairs")
    label = by_context(store, "pointwise")["c"]
    yes, no = (one["log_likelihood"] for one in row.label.value)
    assert label.value["s"] == pytest.approx(yes - no)
    lm = smollm2._lm
    from distillir.teachers.prompts import load_prompt

    prompt = load_prompt("pointwise", ("query", "document"))
    ids = lm.encode_chat(prompt.messages({"query": "Who wrote Hamlet?", "document": "Shakespeare wrote Hamlet."}))
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
    spelled = {
        w: [t for f in (w, w.capitalize(), w.upper()) for s in ("", " ") if len(t := lm.encode(s + f)) == 1]
        for w in ("yes", "no")
    }
    own = {w: float(logprobs[sorted({t[0] for t in tokens})].logsumexp(0)) for w, tokens in spelled.items()}
    assert (yes, no) == pytest.approx((own["yes"], own["no"]), abs=1e-3)


# A cross-encoder


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    """Folder of a tiny BERT with one output and random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("cross")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "which", "fruit", "?", "an", "apple", "a", "brick", "pear"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, num_labels=1, initializer_range=0.8,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_cross_encoder_scores_with_its_logit(cross_encoder, store):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = CrossEncoderModel(CrossEncoderSettings(str(cross_encoder), batch=2))
    teach(Pointwise([FRUIT], PointwiseSettings(name="cross", prompt=None)), model, store)
    label = by_context(store, "cross")["c"]
    plain = AutoModelForSequenceClassification.from_pretrained(cross_encoder).eval()
    tokenizer = AutoTokenizer.from_pretrained(cross_encoder)
    with torch.no_grad():
        own = {
            name: float(plain(**tokenizer(FRUIT.query, text, return_tensors="pt")).logits[0, 0])
            for name, text in FRUIT.texts.items()
        }
    assert label.value == pytest.approx(own, abs=1e-5)
    assert len(set(label.value.values())) == 3
    assert label.scale == "logit"
    (row, *_) = store.rows("cross/pairs")
    assert row.model.startswith(f"{cross_encoder.name}@")
    assert row.prompt_version == "none"
    assert row.label.tokens_in == 8  # [CLS] which fruit ? [SEP] an apple [SEP]


def test_a_cross_encoder_answers_pairs_alone(cross_encoder):
    model = CrossEncoderModel(str(cross_encoder))
    with pytest.raises(ModelError, match="has not been read"):
        _ = model.name
    with pytest.raises(ModelError, match="only judges pairs"):
        model.bound(Generate((Message("user", "hello"),)))
    with pytest.raises(ModelError, match="has not been read"):
        asyncio.run(model.ask(Pair("a", "b")))
    with pytest.raises(ConfigError, match="empty text"):
        Pair("a", " ")
    assert isinstance(Choose((Message("user", "hello"),)), Choose)


def test_a_checkpoint_without_a_head_is_refused(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="BertModel, no cross-encoder"):
        teach(Pointwise([FRUIT], PointwiseSettings(prompt=None)), CrossEncoderModel(str(tmp_path)), None)
    with pytest.raises(ModelError, match="cannot be read as a cross-encoder"):
        teach(Pointwise([FRUIT], PointwiseSettings(prompt=None)), CrossEncoderModel(str(tmp_path / "none")), None)
