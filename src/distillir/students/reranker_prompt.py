"""From a conversation and a passage to one prompt of a language model, and the tokens that its answer is read from."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.errors import ConfigError, ModelError
from distillir.rendering import RenderSettings, render
from distillir.students.reranker_batch import Pair
from distillir.students.reranker_pairs import PairReader

PLACES = ("{query}", "{document}")
_BORDER = -1  # stands for a separator of turns while a conversation is rendered


class PromptPairs(PairReader):
    """`Query: question | answer | earlier question Document: passage Relevant:`, or another template.

    Args:
        tokenizer: of the model.
        settings: order, budget and length of the conversation; each border of turns counts as one token.
        passage_length: tokens of the passage.
        template: with {query} and then {document}.
        separator: between turns.
        left: whether the model reads its last token, so that padding goes to the left.

    Raises:
        ConfigError: a template without the two places, in that order.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: RenderSettings,
        passage_length: int,
        *,
        template: str,
        separator: str,
        left: bool,
    ) -> None:
        super().__init__(tokenizer, settings, passage_length)
        self.pad_left = left
        query, document = PLACES
        if [template.count(place) for place in PLACES] != [1, 1] or template.index(query) > template.index(document):
            raise ConfigError(f"the template is {template!r}", "give it {query} and then {document}, each once")
        head, rest = template.split(query)
        parts = (head, *rest.split(document))
        # A space belongs to the word behind it: that is how the pieces of one text would be read.
        self._before, self._between, self._behind = (
            self._plain(part.rstrip() if i < 2 else part) for i, part in enumerate(parts)
        )
        self._border = self._plain(separator.rstrip())
        empty = list(tokenizer("", verbose=False)["input_ids"])
        ends = [tokenizer.eos_token_id] if empty and empty[-1] == tokenizer.eos_token_id else []
        starts = empty[: len(empty) - len(ends)]
        self._before, self._behind = [*starts, *self._before], [*self._behind, *([] if left else ends)]

    @property
    def longest(self) -> int:
        frame = len(self._before) + len(self._between) + len(self._behind)
        borders = (self.settings.max_length - 2) * max(1, len(self._border))
        return frame + borders + self.passage_length

    def query(self, conversation: Conversation) -> tuple[int, ...]:
        ids = render(conversation, self._word, cls_id=_BORDER, sep_id=_BORDER, settings=self.settings).ids[1:-1]
        return tuple(token for i in ids for token in (self._border if i == _BORDER else [i]))

    def passage(self, text: str) -> tuple[int, ...]:
        return self.tokens.read(f" {text.strip()}")[: self.passage_length]

    def join(self, query: Sequence[int], passage: Sequence[int]) -> Pair:
        head = (*self._before, *query, *self._between)
        return Pair((*head, *passage, *self._behind), len(head))

    def _word(self, text: str) -> tuple[int, ...]:
        return self.tokens(f" {text.strip()}") if text.strip() else ()

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def answer_token(tokenizer: PreTrainedTokenizerBase, word: str) -> int:
    """The one token of a word that a model answers with: a special token, the word behind a space, or the bare word.

    Raises:
        ModelError: the tokenizer cuts the word into several tokens, or does not know it.
    """
    known = tokenizer.get_vocab()
    if word in tokenizer.all_special_tokens or (word.startswith("<") and word in known):
        return int(known[word])
    read = [list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in (f" {word}", word)]
    for ids in read:
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            return int(ids[0])
    pieces = " + ".join(map(repr, tokenizer.convert_ids_to_tokens(read[0]))) or "nothing"
    raise ModelError(
        f"the word {word!r} is not one token of this model: it is {pieces}", "choose a word that is, such as yes and no"
    )
