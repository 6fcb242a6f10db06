"""Tiny masked language models with random weights, saved as any checkpoint is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from distillir.students.backbone import quiet
from distillir.students.packaged import SPLADE_TINY, locate

WORDS = [
    "who",
    "wrote",
    "dune",
    "frank",
    "herbert",
    "and",
    "when",
    "?",
    "in",
    "1965",
    "the",
    "spice",
    "must",
    "flow",
    ".",
]
WORDS += ["what", "is", "a", "river", "it", "##s", "[", "]"]


@pytest.fixture(scope="session")
def splade_tiny() -> Path:
    return locate(SPLADE_TINY)


def word_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {w: i for i, w in enumerate([*specials, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"cls": "<s>", "bos": "<s>", "pad": "<pad>", "sep": "</s>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **{f"{k}_token": v for k, v in names.items()}
    )


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny checkpoint of "bert", "roberta" or "distilbert", saved with its head."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            model, tokenizer = tiny(kind)
            with quiet():
                model.save_pretrained(made[kind])
                tokenizer.save_pretrained(made[kind])
        return made[kind]

    return folder


def tiny(kind: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = byte_tokenizer() if kind == "roberta" else word_tokenizer()
    size, pad = len(tokenizer), tokenizer.pad_token_id
    shape = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24}
    configs = {
        "bert": lambda: BertConfig(vocab_size=size, max_position_embeddings=64, **shape),
        "roberta": lambda: RobertaConfig(vocab_size=size, max_position_embeddings=66, pad_token_id=pad, **shape),
        "distilbert": lambda: DistilBertConfig(
            vocab_size=size, max_position_embeddings=64, dim=16, hidden_dim=24, n_layers=2, n_heads=2
        ),
    }
    torch.manual_seed(5)
    model = AutoModelForMaskedLM.from_config(configs[kind]())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model, tokenizer


@pytest.fixture(scope="session")
def paired(make, tmp_path_factory):
    """Folder of a tiny encoder whose tokenizer joins pairs."""

    def folder(kind: str) -> Path:
        target = tmp_path_factory.mktemp(f"paired-{kind}")
        tokenizer = AutoTokenizer.from_pretrained(make(kind))
        cls, sep = tokenizer.cls_token, tokenizer.sep_token
        between = f"{sep} {sep}" if kind == "roberta" else sep
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}",
            pair=f"{cls} $A {between} $B:1 {sep}:1",
            special_tokens=[(cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id)],
        )
        with quiet():
            torch.manual_seed(7)
            model = AutoModelForSequenceClassification.from_pretrained(make(kind), num_labels=1)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, 0, 0.3)
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
        return target

    made: dict[str, Path] = {}
    return lambda kind: made.setdefault(kind, folder(kind)) if kind not in made else made[kind]
