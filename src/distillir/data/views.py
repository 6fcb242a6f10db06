"""Views: the kinds of identifiers a passage has, each asked for by its own end of the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from distillir.errors import ConfigError


@dataclass(frozen=True)
class View:
    """One kind of identifier.

    Attributes:
        name: "title", "body" and "question" are read from a corpus; see `index.IdentifierIndex.build`.
        prompt: what follows the conversation, so that a model knows which kind to write.
        whole: an identifier is a whole text, such as a title, or else any run of tokens in one.
        length: tokens of an identifier; of whole texts the most, longer ones are cut.
        least: tokens from which on the beginning of an identifier counts as one too; None = only what is complete.
        weight: of its likelihood in training; 0 = it is not learnt.
    """

    name: str
    prompt: str
    whole: bool = True
    length: int = 24
    least: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.name or not self.prompt.strip():
            raise ConfigError(f"view {self.name!r} has the prompt {self.prompt!r}", "give both a text")
        if self.length < 1 or (self.least is not None and not 1 <= self.least <= self.length):
            raise ConfigError(
                f"view {self.name!r}: length {self.length}, least {self.least}", "give 1 ≤ least ≤ length"
            )
        if not self.weight >= 0:
            raise ConfigError(f"view {self.name!r}: weight {self.weight}", "give 0 or more")


TITLE = View("title", "\nTitle:", length=24)
BODY = View("body", "\nPassage:", whole=False, length=10, least=2)
QUESTION = View("question", "\nQuestion:", length=24, least=4)
VIEWS = {view.name: view for view in (TITLE, BODY, QUESTION)}
"""Views by name, as MINDER and DGR (arXiv 2402.10769) have them: titles, spans of 10 tokens, pseudo-queries."""
