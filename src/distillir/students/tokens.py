"""Texts to content tokens, remembered: the turns of a conversation come back with every later question."""

from __future__ import annotations

from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from distillir.rendering import escape

REMEMBERED = 1 << 16  # texts


class ContentTokens:
    """Callable: text → ids of its content tokens. Special tokens written in the text are broken up.

    A function of the tokenizer alone: a copy or a pickle starts with nothing remembered.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.specials: tuple[str, ...] = tuple(sorted(set(tokenizer.all_special_tokens), key=len, reverse=True))
        # What the vocabulary lacks is content like any other; the rest would be read as structure.
        self._structure = frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self._remembered = lru_cache(maxsize=REMEMBERED)(self.read)

    def __call__(self, text: str) -> tuple[int, ...]:
        return self._remembered(text)

    def read(self, text: str) -> tuple[int, ...]:
        """The same without remembering, for texts that do not come back."""
        if not text.isascii():  # half of a surrogate pair, which broken logs hold, is refused by tokenizers
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids = self.tokenizer(escape(text, self.specials), add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(i for i in ids if i not in self._structure)

    def __reduce__(self) -> tuple[type[ContentTokens], tuple[PreTrainedTokenizerBase]]:
        return ContentTokens, (self.tokenizer,)
