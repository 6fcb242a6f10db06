"""From a conversation and a passage to the tokens of one pair, as an encoder's own tokenizer joins two texts.

Both sides are cut apart from each other, so a long conversation never crowds out the passage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.errors import ModelError
from distillir.rendering import RenderSettings, escape, render
from distillir.students.reranker_batch import Pair, Pairs
from distillir.students.tokens import ContentTokens


class PairReader(ABC):
    """What makes pairs of texts; apart from the model, so that data can be built beside it.

    Args:
        tokenizer: of the model.
        settings: order, budget and length of the conversation's side.
        passage_length: tokens of the passage, specials aside.
    """

    pad_left = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: RenderSettings, passage_length: int) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.passage_length = passage_length
        self.tokens = ContentTokens(tokenizer)

    @abstractmethod
    def query(self, conversation: Conversation) -> tuple[int, ...]:
        """Tokens of the conversation's side, without what is around it."""

    @abstractmethod
    def passage(self, text: str) -> tuple[int, ...]:
        """Tokens of the passage, cut."""

    @abstractmethod
    def join(self, query: Sequence[int], passage: Sequence[int]) -> Pair:
        """Both sides with what belongs around them."""

    @property
    @abstractmethod
    def longest(self) -> int:
        """Tokens of the longest pair."""

    @property
    def pad_id(self) -> int:
        """Token of padding; any will do where the tokenizer names none, because it is masked."""
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)

    def pad(self, pairs: Sequence[Pair]) -> Pairs:
        """Pairs as tensors."""
        width = max(len(pair) for pair in pairs)
        ids = torch.full((len(pairs), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros(len(pairs), width, dtype=torch.bool)
        types = torch.zeros(len(pairs), width, dtype=torch.long)
        for i, pair in enumerate(pairs):
            first = width - len(pair) if self.pad_left else 0
            ids[i, first : first + len(pair)] = torch.tensor(pair.ids, dtype=torch.long)
            mask[i, first : first + len(pair)] = True
            types[i, first + pair.passage_start : first + len(pair)] = 1
        return Pairs(ids, mask, types)


class EncoderPairs(PairReader):
    """`[CLS] question [SEP] answer [SEP] earlier question [SEP] passage [SEP]`, or what the tokenizer has in place.

    Raises:
        ModelError: the tokenizer puts nothing between two texts, or nothing between turns.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: RenderSettings, passage_length: int) -> None:
        super().__init__(tokenizer, settings, passage_length)
        one, two = list(self.tokens.read("one")), list(self.tokens.read("two"))
        frame = tokenizer("one", "two", verbose=False)
        joined = list(frame["input_ids"])
        self.typed = 1 in frame.get("token_type_ids", ())  # whether the model is told which side a token is of
        ends = _find(joined, one, 0)
        starts = _find(joined, two, ends + len(one)) if ends >= 0 else -1
        if starts <= ends + len(one) or tokenizer.sep_token_id is None:
            raise ModelError(
                "the tokenizer puts no separator between a question and a passage",
                "use a checkpoint whose tokenizer was made for pairs of texts",
            )
        self._before = tuple(joined[:ends])
        self._between = tuple(joined[ends + len(one) : starts])
        self._behind = tuple(joined[starts + len(two) :])
        # Byte-level tokenizers read spaces beside a separator.
        sep = tokenizer.sep_token
        apart = [*one, tokenizer.sep_token_id, *two]
        between = (f" {sep} ", str(sep))
        plain = [tokenizer(f"one{way}two", add_special_tokens=False, verbose=False)["input_ids"] for way in between]
        self._turns = next((way for way, ids in zip(between, plain, strict=True) if list(ids) == apart), between[0])

    @property
    def longest(self) -> int:
        # The rendered conversation counts two specials, which stand in the frame here.
        frame = len(self._before) + len(self._between) + len(self._behind)
        return self.settings.max_length - 2 + self.passage_length + frame

    def query(self, conversation: Conversation) -> tuple[int, ...]:
        cls, sep = 0, self.tokenizer.sep_token_id
        return tuple(render(conversation, self.tokens, cls_id=cls, sep_id=sep, settings=self.settings).ids[1:-1])

    def passage(self, text: str) -> tuple[int, ...]:
        return self.tokens.read(text)[: self.passage_length]

    def join(self, query: Sequence[int], passage: Sequence[int]) -> Pair:
        head = (*self._before, *query, *self._between)
        return Pair((*head, *passage, *self._behind), len(head))

    def strings(self, conversation: Conversation, passage: str) -> tuple[str, str]:
        """The pair as two texts that `CrossEncoder.predict` takes, cut to the same tokens."""
        segments = [conversation.question]
        for exchange in reversed(conversation.exchanges):
            segments += [exchange.answer, exchange.question] if self.settings.answers else [exchange.question]
        kept, sep = [0], self.tokenizer.sep_token_id
        for token in self.query(conversation):
            if token == sep:
                kept.append(0)
            else:
                kept[-1] += 1
        turns = [self._cut(text, size) for text, size in zip(segments, kept, strict=False)]
        return self._turns.join(turns), self._cut(passage, self.passage_length)

    def _cut(self, text: str, size: int) -> str:
        text = escape(text, self.tokens.specials)
        read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ends = [end for _, end in read["offset_mapping"]]
        return text if len(ends) <= size else text[: ends[size - 1]] if size else ""


def _find(row: Sequence[int], part: Sequence[int], start: int) -> int:
    """Where `part` stands in `row` from `start` on, -1 if nowhere."""
    size = len(part)
    return next((i for i in range(start, len(row) - size + 1) if list(row[i : i + size]) == list(part)), -1)
