"""From a conversation to the tokens behind which a generative student writes an identifier of a view."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distillir.conversation import Conversation
from distillir.data.views import View
from distillir.errors import ConfigError, ConversationError
from distillir.rendering import RenderSettings, render
from distillir.students.tokens import ContentTokens

PLACE = "{query}"
_BORDER = -1  # stands for a separator of turns while a conversation is rendered


class PromptReader:
    """`Query: question | answer | earlier question` and a view's prompt, such as `Title:`.

    Args:
        tokenizer: of the model.
        settings: order, budget and length of the conversation; each border of turns counts as one token.
        template: with {query}.
        separator: between turns.
        left: whether padding goes to the left and no end stands behind the prompt, as in a decoder.

    Raises:
        ConfigError: a template without its place.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: RenderSettings,
        *,
        template: str,
        separator: str,
        left: bool,
    ) -> None:
        if template.count(PLACE) != 1:
            raise ConfigError(f"the template is {template!r}", "give it {query}, once")
        self.tokenizer = tokenizer
        self.settings = settings
        self.tokens = ContentTokens(tokenizer)
        self.left = left
        before, behind = template.split(PLACE)
        empty = list(tokenizer("", verbose=False)["input_ids"])
        ends = [tokenizer.eos_token_id] if empty and empty[-1] == tokenizer.eos_token_id else []
        self._before = [*empty[: len(empty) - len(ends)], *self._plain(before.rstrip())]
        self._behind = self._plain(behind.rstrip())
        self._ends = [] if left else ends
        self._border = self._plain(separator.rstrip())

    def longest(self, views: Sequence[View]) -> int:
        """Tokens of the longest prompt."""
        borders = (self.settings.max_length - 2) * max(1, len(self._border))
        most = max((len(self._plain(view.prompt)) for view in views), default=0)
        return len(self._before) + borders + len(self._behind) + most + len(self._ends)

    def prompt(self, conversation: Conversation, view: View) -> tuple[int, ...]:
        """Tokens of a conversation and a view's prompt.

        Raises:
            ConversationError: a blank question.
        """
        if not conversation.question.strip():
            name = f" of conversation {conversation.id!r}" if conversation.id else ""
            raise ConversationError(f"the question{name} is blank: nothing to search for", "ask in words")
        ids = render(conversation, self.text, cls_id=_BORDER, sep_id=_BORDER, settings=self.settings).ids[1:-1]
        turns = [token for i in ids for token in (self._border if i == _BORDER else [i])]
        return (*self._before, *turns, *self._behind, *self._plain(view.prompt), *self._ends)

    def text(self, text: str) -> tuple[int, ...]:
        """Tokens of a text as it stands behind a prompt: its first word behind a space."""
        return self.tokens.read(f" {text.strip()}") if text.strip() else ()

    def pad(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(Q, P) ids and (Q, P) bool mask; to the left for a decoder, so that all prompts end together."""
        return pad(prompts, self.tokenizer.pad_token_id or 0, left=self.left)

    def fingerprint(self) -> str:
        """Hash of what decides how a text becomes tokens."""
        probe = ["The quick brown fox, 1965 — naïve?", "Dune\tdune  DUNE"]
        known = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        content = json.dumps([known, [self.text(one) for one in probe]], default=str)
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def pad(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Lists of token ids as (R, L) int64 and their mask."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), width), fill, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(list(row), dtype=torch.long)
        mask[i, place] = True
    return ids, mask
