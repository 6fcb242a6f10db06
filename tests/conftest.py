"""A corpus and chats small enough to train on in seconds: animals, and what is known of each."""

import gc
import json
from pathlib import Path

import pytest

from engines_elsewhere import engine_line, milvus_url, qdrant_url

__all__ = ["engine_line", "milvus_url", "qdrant_url"]  # fixtures

ANIMALS = ("otter", "falcon", "salmon", "beetle", "horse", "whale", "parrot", "tiger")
FACTS = {
    "food": ("what does the {} eat", "The {} eats what it finds near the water and in the fields."),
    "sleep": ("when does the {} sleep", "The {} sleeps at night in a quiet place of the forest."),
    "size": ("how big is the {}", "A grown {} is as big and heavy as other animals of its family."),
    "home": ("where does the {} live", "The {} lives in the north, in rivers, forests and on the coast."),
    "young": ("how many young has the {}", "The {} has two or three young every year in spring."),
}


def pytest_collection_finish(session):
    """What imports made stays: collections of garbage, with which every training ends, need not walk it."""
    gc.collect()
    gc.freeze()


def chat(animal: str, facts: list[str], split: str) -> list[dict]:
    """One row a turn: the first question names the animal, later ones say 'it'."""
    rows, messages = [], []
    for turn, fact in enumerate(facts, start=1):
        asked, answer = FACTS[fact]
        question = asked.format(animal) if turn == 1 else asked.replace("the {}", "it")
        messages = [*messages, {"role": "user", "content": question}]
        rows.append(
            {
                "id": f"{split}-{animal}#{turn}",
                "group": f"{split}-{animal}",
                "messages": messages,
                "rewrite": asked.format(animal),
                "relevant": [f"{animal}-{fact}"],
            }
        )
        messages = [*messages, {"role": "assistant", "content": answer.format(animal)}]
    return rows


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def animals():
    """Writes `corpus.jsonl`, `train.jsonl`, `dev.jsonl` and `test.jsonl` into a folder: 40 documents, 24 contexts."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        documents = [
            {"_id": f"{animal}-{fact}", "title": animal, "text": answer.format(animal)}
            for animal in ANIMALS
            for fact, (_, answer) in FACTS.items()
        ]
        write_rows(folder / "corpus.jsonl", documents)
        plan = {"train": ANIMALS[:4], "dev": ANIMALS[4:6], "test": ANIMALS[6:]}
        for split, names in plan.items():
            write_rows(
                folder / f"{split}.jsonl", [row for a in names for row in chat(a, ["food", "sleep", "home"], split)]
            )
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_writer(tmp_path_factory):
    """Folder of a decoder of a few thousand weights that has read what is known of the animals."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from distillir.students.backbone import quiet

    split = pre_tokenizers.Whitespace()
    texts = [*ANIMALS, "Query Title Passage Question : | ? it", *(text for fact in FACTS.values() for text in fact)]
    words = dict.fromkeys(word for text in texts for word, _ in split.pre_tokenize_str(text.replace("{}", "")))
    made = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["<pad>", "<unk>", "</s>", *words])}, unk_token="<unk>")
    )
    made.pre_tokenizer = split
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **shape, **ends))
    # A moment of training, so that it writes sentences about animals, as a trained one would.
    rows = tokenizer([f" {facts[1].format(a)}" for a in ANIMALS for facts in FACTS.values()], padding=True)
    ids, mask = torch.tensor(rows["input_ids"]), torch.tensor(rows["attention_mask"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("writer")
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
