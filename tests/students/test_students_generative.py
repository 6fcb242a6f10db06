"""The generative student: what it writes exists, its likelihoods are the model's, its scores are keys' weights."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from distillir.conversation import Conversation
from distillir.data import Corpus
from distillir.data.views import BODY, TITLE, View
from distillir.errors import ConfigError, ConversationError, ModelError, SearchIndexError
from distillir.index.identifiers import IdentifierIndex
from distillir.objectives import Targets
from distillir.rendering import RenderSettings
from distillir.students import GenerativeSettings, GenerativeStudent
from distillir.students.backbone import quiet
from distillir.students.generative_batch import GenerativeBatch
from distillir.students.generative_prompt import pad
from distillir.students.identifier_processor import IdentifierProcessor
from distillir.students.key_weights import key_prior, key_weights

WORDS = "query title passage : who wrote dune frank herbert the spice must flow river is long and when ? | a b c"
VIEWS = (View("title", " title :", length=4), View("body", " passage :", whole=False, length=3, least=1))
DOCUMENTS = [
    {"_id": "a", "title": "dune", "text": "frank herbert wrote dune and the spice must flow"},
    {"_id": "b", "title": "dune river", "text": "the river is long and the river is long"},
    {"_id": "c", "title": "the spice", "text": "the spice must flow"},
    {"_id": "d", "title": "", "text": "a b c"},
]


def tokenizer():
    known = {w: i for i, w in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS.split()])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def model(kind: str):
    torch.manual_seed(3)
    size = len(tokenizer())
    if kind == "decoder":
        made = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                pad_token_id=0,
                bos_token_id=2,
                eos_token_id=3,
            )
        )
    else:
        made = BartForConditionalGeneration(
            BartConfig(
                vocab_size=size,
                d_model=16,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                encoder_layers=1,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                max_position_embeddings=64,
                pad_token_id=0,
                bos_token_id=2,
                eos_token_id=3,
                decoder_start_token_id=2,
                forced_eos_token_id=None,
            )
        )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.4)
    return made.eval()


@pytest.fixture(scope="module", params=["decoder", "seq2seq"])
def student(request):
    settings = GenerativeSettings(RenderSettings(max_length=20), VIEWS, template="query : {query}")
    return GenerativeStudent(model(request.param), tokenizer(), settings)


@pytest.fixture(scope="module")
def index(tmp_path_factory, student):
    folder = tmp_path_factory.mktemp("index")
    corpus = Corpus.build(DOCUMENTS, folder / "corpus.arrow")
    return IdentifierIndex.build(
        corpus, folder / "ids", VIEWS, student.reader.text, tokenizer=student.reader.fingerprint()
    )


CHATS = [
    Conversation.from_pairs([], "who wrote dune ?"),
    Conversation.from_pairs([("who wrote dune ?", "frank herbert")], "and when ?"),
]


def plain_log_prob(student, prompt, tokens):
    """Σ ln P of tokens behind one prompt, in one pass without cache or padding."""
    with torch.no_grad():
        if student.model.config.is_encoder_decoder:
            written = torch.tensor([[2, *tokens[:-1]]])
            logits = student.model(input_ids=torch.tensor([prompt]), decoder_input_ids=written).logits[0]
        else:
            logits = student.model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    return sum(float(row.log_softmax(-1)[token]) for row, token in zip(logits, tokens, strict=True))


def all_ngrams(student, size):
    texts = [student.reader.text(d["text"]) for d in DOCUMENTS]
    return {t[i : i + size] for t in texts for i in range(len(t) - size + 1)}


@pytest.mark.parametrize("beams", [1, 4, 50])
def test_what_is_written_exists_and_has_the_model_s_probability(student, index, beams):
    found = student.generate(CHATS, "body", index.views["body"], beams=beams)
    prompts = [student.reader.prompt(chat, VIEWS[1]) for chat in CHATS]
    assert set(found.query.tolist()) == {0, 1}
    for i in range(len(found)):
        ngram = found.tokens[i]
        spans = index.views["body"].ngrams.find(ngram)
        assert (spans.low[0], spans.high[0]) == (found.low[i], found.high[i])
        assert spans.counts[0] > 0
        assert not found.ended[i]
        expected = plain_log_prob(student, prompts[found.query[i]], ngram)
        assert found.log_probs[i] == pytest.approx(expected, abs=1e-4)


def test_a_wide_beam_finds_everything(student, index):
    found = student.generate(CHATS, "body", index.views["body"], beams=500)
    for q in range(2):
        mine = {t for t, query in zip(found.tokens, found.query, strict=True) if query == q}
        assert mine == all_ngrams(student, 1) | all_ngrams(student, 2) | all_ngrams(student, 3)
    titles = student.generate(CHATS[:1], "title", index.views["title"], beams=500)
    assert sorted(titles.tokens) == sorted(student.reader.text(d["title"]) for d in DOCUMENTS[:3])
    assert titles.ended.all()
    prompt = student.reader.prompt(CHATS[0], VIEWS[0])
    for tokens, log_prob, low, high in zip(titles.tokens, titles.log_probs, titles.low, titles.high, strict=True):
        assert log_prob == pytest.approx(plain_log_prob(student, prompt, [*tokens, 3]), abs=1e-4)
        assert high - low == 1  # "dune" is one title, though two begin so


def test_narrow_beams_are_those_of_transformers(student, index):
    view = VIEWS[1]
    for chat, beams in itertools.product(CHATS, (1, 3)):
        found = student.generate([chat], "body", index.views["body"], beams=beams)
        mine = {t: lp for t, lp in zip(found.tokens, found.log_probs, strict=True) if len(t) == view.length}
        ids, mask = student.reader.pad([student.reader.prompt(chat, view)])
        start = 1 if student.model.config.is_encoder_decoder else ids.shape[1]
        processor = IdentifierProcessor(index.views["body"], prompt_length=start, end=student.end)
        with quiet():
            made = student.model.generate(
                ids,
                attention_mask=mask.long(),
                num_beams=beams,
                num_return_sequences=beams,
                max_new_tokens=view.length,
                length_penalty=0.0,
                logits_processor=[processor],
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=beams > 1,
            )
        theirs = [tuple(t for t in row[start:].tolist() if t not in (0, 3)) for row in made.sequences]
        if beams == 1:
            assert theirs == list(mine)
        else:
            expected = {
                t: float(s) for t, s in zip(theirs, made.sequences_scores, strict=True) if len(t) == view.length
            }
            assert set(mine) >= set(expected)
            for t, score in expected.items():
                assert mine[t] == pytest.approx(score, abs=1e-4)


def test_titles_through_transformers_end_where_titles_end(student, index):
    ids, mask = student.reader.pad([student.reader.prompt(CHATS[0], VIEWS[0])])
    start = 1 if student.model.config.is_encoder_decoder else ids.shape[1]
    processor = IdentifierProcessor(index.views["title"], prompt_length=start, end=3, whole=True)
    with quiet():
        made = student.model.generate(
            ids,
            attention_mask=mask.long(),
            num_beams=3,
            num_return_sequences=3,
            max_new_tokens=5,
            length_penalty=0.0,
            logits_processor=[processor],
            do_sample=False,
        )
    titles = {student.reader.text(d["title"]) for d in DOCUMENTS[:3]}
    assert {tuple(t for t in row[start:].tolist() if t not in (0, 3)) for row in made} == titles


def test_a_row_that_has_ended_leaves_something_to_draw(index):
    """A sampler draws of every row of a batch, of those that wrote their end too."""
    dune, river = (tokenizer().convert_tokens_to_ids(word) for word in ("dune", "river"))
    processor = IdentifierProcessor(index.views["title"], prompt_length=1, end=3, whole=True)
    made = processor(torch.tensor([[2, dune, 3], [2, dune, river]]), torch.zeros(2, len(tokenizer())))
    assert made[0].isfinite().nonzero().flatten().tolist() == [3]
    assert made[1].isfinite().nonzero().flatten().tolist() == [3]  # "dune river" is a whole title
    assert torch.multinomial(made.softmax(-1), 1).flatten().tolist() == [3, 3]


def test_conversations_together_are_conversations_alone(student, index):
    together = student.generate(CHATS, "body", index.views["body"], beams=4)
    for q, chat in enumerate(CHATS):
        alone = student.generate([chat], "body", index.views["body"], beams=4)
        own = np.flatnonzero(together.query == q)
        assert [together.tokens[i] for i in own] == list(alone.tokens)
        np.testing.assert_allclose(together.log_probs[own], alone.log_probs, atol=1e-4)


def batch_of(student, sequences, keys, factors, prior, *, share=None, lengths=None):
    """One prompt a chat; sequences are (chat, tokens)."""
    prompts, prompt_mask = student.reader.pad([student.reader.prompt(chat, VIEWS[1]) for chat in CHATS])
    written, written_mask = pad([tokens for _, tokens in sequences], 0)
    factors = torch.tensor(factors, dtype=torch.float32)
    mask = torch.ones(factors.shape[:2], dtype=torch.bool)
    return GenerativeBatch(
        prompts,
        prompt_mask,
        torch.tensor([0, 1]),
        written,
        written_mask,
        torch.tensor([chat for chat, _ in sequences]),
        torch.tensor(share or [0.0] * len(sequences)),
        torch.tensor(keys),
        torch.tensor(lengths or [[len(sequences[k][1]) if k >= 0 else 0 for k in row] for row in keys]),
        torch.tensor(prior, dtype=torch.float64),
        factors,
        mask,
        Targets(gold=mask),
        ("x", "y"),
        share is not None,
    )


def example(student):
    read = student.reader.text
    sequences = [(0, read("the river is")), (0, read("dune")), (1, read("spice must")), (1, [*read("dune"), 3])]
    return sequences, batch_of(
        student,
        sequences,
        keys=[[0, 1], [2, -1]],
        factors=[[[1.0, 0.0], [0.2, 1.0]], [[1.0, 0.0], [0.5, 0.0]]],
        prior=[[-3.0, -2.0], [-4.0, -1.0]],
        share=[0.0, 0.5, 0.0, 1.0],
    )


def test_scores_and_likelihood_are_those_of_plain_passes(student):
    sequences, batch = example(student)
    prompts = [student.reader.prompt(chat, VIEWS[1]) for chat in CHATS]
    plain = [plain_log_prob(student, prompts[chat], tokens) for chat, tokens in sequences]
    output = student(batch)

    def weight(lp, prior):
        odds = (lp + math.log(1 - math.exp(prior))) - (prior + math.log(1 - math.exp(lp)))
        return max(0.0, odds) ** 2

    w = [weight(plain[0], -3.0), weight(plain[1], -2.0), weight(plain[2], -4.0)]
    expected = [[w[0], 0.2 * w[0] + w[1]], [w[2], 0.5 * w[2]]]
    np.testing.assert_allclose(output.scores.detach().numpy(), expected, rtol=1e-3, atol=1e-4)
    assert output.token_loss.item() == pytest.approx((0.5 * -plain[1] + 1.0 * -plain[3] / 2) / 2, abs=1e-4)


def test_a_beginning_of_a_sequence_is_a_key_too(student):
    sequences, _ = example(student)
    short = [(0, sequences[0][1][:2]), *sequences[1:]]
    options = {
        "keys": [[0, 1], [2, -1]],
        "factors": [[[1.0, 1.0]], [[1.0, 0.0]]],
        "prior": [[-60.0, -2.0], [-4.0, -1.0]],
    }
    alone = student(batch_of(student, short, **options)).scores
    inside = student(batch_of(student, sequences, **options, lengths=[[2, 1], [2, 0]])).scores
    np.testing.assert_allclose(inside.detach(), alone.detach(), rtol=1e-4)
    assert (inside[0] > 0).all()


def test_parts_are_parts_of_the_whole(student):
    _, batch = example(student)
    whole = student(batch)
    parts = [student(batch.part(i, i + 1)) for i in range(2)]
    np.testing.assert_allclose(
        torch.cat([p.scores for p in parts]).detach(), whole.scores.detach(), rtol=1e-4, atol=1e-5
    )
    assert whole.token_loss.item() == pytest.approx(sum(p.token_loss.item() for p in parts) / 2, abs=1e-5)
    assert batch.part(1, 2).names == ("y",)


def test_gradient_flows_through_weights_into_the_model(student):
    lp = torch.tensor([-0.5, -1.0, -0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: key_weights(x, torch.tensor([-3.0, -2.0, -4.0])), (lp,))
    sequences, _ = example(student)
    # By chance this key is so unlikely that its weight is positive: a step up the score's gradient makes it likelier.
    batch = batch_of(student, sequences, [[0, 1], [2, -1]], [[[1.0, 0.0]], [[0.0, 0.0]]], [[-60.0, -2.0], [-4.0, -1.0]])
    twin = copy.deepcopy(student)
    before = twin.log_probs(batch).sum(1)[0].item()
    twin(batch).scores[0, 0].backward()
    moved = [(name, p) for name, p in twin.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any("layers.0" in name for name, _ in moved)
    with torch.no_grad():
        for _, parameter in moved:
            parameter.add_(parameter.grad / parameter.grad.norm(), alpha=1e-3)
        assert twin.log_probs(batch).sum(1)[0].item() > before


def test_key_weights_by_hand_and_at_their_borders():
    prior = key_prior(torch.tensor([0, 95]), 995)
    assert prior.tolist() == pytest.approx([math.log(5 / 1000), math.log(100 / 1000)])
    lp = torch.tensor([math.log(0.5), math.log(0.05)])
    # odds .5/.5 over .005/.995 = 199; .05/.95 over .1/.9 is below 1
    assert key_weights(lp, prior).tolist() == pytest.approx([math.log(199) ** 2, 0.0])
    certain = torch.tensor([0.0, -1e-9], requires_grad=True)
    made = key_weights(certain, prior)
    made.sum().backward()
    assert made.isfinite().all()
    assert certain.grad.isfinite().all()
    near = torch.tensor([-1e-5, -1e-3, -0.1])
    half = torch.tensor([-1e-4, -2.0, -12.0])
    exact = key_weights(near.double(), half.double())
    np.testing.assert_allclose(key_weights(near, half).numpy(), exact.numpy(), rtol=1e-5)  # float32 loses nothing
    assert key_weights(torch.tensor([-1e4]), prior[:1]).tolist() == [0.0]
    assert key_prior(torch.tensor([10]), 10).item() < 0


def test_a_saved_student_opens_and_writes_the_same(student, index, tmp_path):
    student.save(tmp_path / "s")
    assert not list((tmp_path / "s").glob("*.bin"))
    again = GenerativeStudent.from_pretrained(tmp_path / "s")
    assert again.settings == student.settings
    assert again.fingerprint() == student.fingerprint()
    assert again.reader.fingerprint() == student.reader.fingerprint()
    before, after = (s.generate(CHATS, "body", index.views["body"], beams=3) for s in (student, again))
    assert before.tokens == after.tokens
    with pytest.raises(ModelError, match="settings of its own"):
        GenerativeStudent.from_pretrained(tmp_path / "s", GenerativeSettings())


def test_what_cannot_be_is_refused(student, index):
    with pytest.raises(ConfigError, match="no view"):
        student.generate(CHATS, "question", index.views["body"])
    with pytest.raises(ConfigError, match="beams is 0"):
        student.generate(CHATS, "body", index.views["body"], beams=0)
    with pytest.raises(ConversationError, match="blank"):
        student.generate([Conversation.from_pairs([], "  ")], "body", index.views["body"])
    with pytest.raises(ModelError, match="positions"):
        GenerativeStudent(student.model, student.tokenizer, GenerativeSettings(RenderSettings(max_length=80), VIEWS))
    for template in ("query :", "{query} {query}"):
        with pytest.raises(ConfigError, match="template"):
            GenerativeStudent(student.model, student.tokenizer, GenerativeSettings(views=VIEWS, template=template))
    for views in ((), (TITLE, TITLE)):
        with pytest.raises(ConfigError, match="views"):
            GenerativeSettings(views=views)
    for options in ({"length": 0}, {"least": 30}, {"weight": -1.0}, {"prompt": " "}):
        with pytest.raises(ConfigError, match="view"):
            View(**{"name": "title", "prompt": "title :", **options})
    with pytest.raises(SearchIndexError, match="another tokenizer"):
        IdentifierIndex.open(index.folder, tokenizer="other")
    assert BODY.length == 10


def test_damaged_weights_are_no_answer(student, index):
    twin = copy.deepcopy(student)
    with torch.no_grad():
        next(twin.model.get_output_embeddings().parameters()).fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        twin.generate(CHATS, "body", index.views["body"])


def test_special_tokens_in_a_question_are_only_text(student):
    prompt = student.reader.prompt(Conversation.from_pairs([], "who </s> wrote"), VIEWS[0])
    assert 3 not in prompt


@pytest.mark.slow
def test_smollm_writes_the_right_title_before_it_learns_anything(tmp_path):
    from distillir.teachers.packaged_llm import gguf_of

    smollm = GenerativeStudent.from_pretrained(gguf_of("smollm2-135m"), GenerativeSettings())
    titles = ("The novel Dune", "The tiger of Asia", "Storage buckets")
    corpus = Corpus.build([{"_id": t, "title": t, "text": "Nothing."} for t in titles], tmp_path / "corpus.arrow")
    made = IdentifierIndex.build(
        corpus, tmp_path / "ids", smollm.settings.views, smollm.reader.text, tokenizer=smollm.reader.fingerprint()
    )
    asked = ("Who wrote the novel Dune?", "What does the tiger of Asia eat?", "How do I delete storage buckets?")
    chats = [Conversation.from_pairs([], text) for text in asked]
    found = smollm.generate(chats, "title", made.views["title"], beams=3)
    for q, title in enumerate(titles):
        own = np.flatnonzero(found.query == q)
        best = own[np.argmax(found.log_probs[own])]
        assert smollm.tokenizer.decode(list(found.tokens[best])).strip() == title
