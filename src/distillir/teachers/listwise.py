"""Listwise: a model orders the candidates of a context, a window at a time, from the end of the list to its head.

Source: Sun et al., "Is ChatGPT good at search? Investigating large language models as re-ranking agents" (EMNLP 2023);
window 20 and step 10 are theirs. A pass carries the best `window − step` documents to the head, so p passes of a model
that never errs order the first p · (window − step). The first window of the list is a full one here, also where the
length is no multiple of the step.

Every window is a label of its own, `NAME/windows`; the windows of a list follow one another, lists go side by side.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distillir.errors import ConfigError
from distillir.labels import Label, LabelRequest
from distillir.labels.parsing import count_reasons, join_reasons, parse_order
from distillir.teachers.jobs import Job, one_call
from distillir.teachers.prompts import Prompt, load_prompt
from distillir.teachers.requests import Generate, Generated, Model
from distillir.teachers.teacher import Candidates, Read, blocks, no_call
from distillir.teachers.texts import cut_words, without_marks

FIELDS = ("number", "query", "passages")
PARTS = "windows"
MARK_TOKENS = 6  # "[12] > "
MALFORMED = "malformed windows"
FAULTS = ("missing", "repeated", "invented")


@dataclass(frozen=True)
class ListwiseSettings:
    """How lists are ordered.

    Attributes:
        name: of the labels.
        prompt: "listwise", or the path of a prompt with {number}, {query} and {passages}.
        window: documents shown at once.
        step: how far a window lies before the one just ordered, below `window`.
        passes: over the whole list.
        words: of each document.
        least: share of a window's documents a reply must name; else the window stays as it was.
        temperature, seed: of the sampling.
    """

    name: str = "listwise"
    prompt: str | Path = "listwise"
    window: int = 20
    step: int = 10
    passes: int = 1
    words: int = 100
    least: float = 0.5
    temperature: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.step < self.window or min(self.passes, self.words) < 1 or not 0 < self.least <= 1:
            raise ConfigError(
                f"window {self.window}, step {self.step}, passes {self.passes}, words {self.words}, least {self.least}",
                "step is 1 or more and below the window, passes and words 1 or more, least above 0 to 1",
            )


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Where the windows of one pass begin, the last documents' first; the final one always begins at 0."""
    return [*range(length - window, 0, -step), 0]


@dataclass
class _List:
    """One list on its way: `order` is what the next window sees."""

    given: Candidates
    texts: dict[str, str]
    order: list[str]
    starts: list[int]
    whole: LabelRequest
    stuck: bool = False
    keys: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Listwise:
    """Makes "order" labels of candidates.

    Raises:
        ConfigError: a prompt that cannot be used.
    """

    candidates: Sequence[Candidates]
    settings: ListwiseSettings = field(default_factory=ListwiseSettings)
    prompt: Prompt = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", load_prompt(self.settings.prompt, FIELDS))

    @property
    def name(self) -> str:
        """Of the labels."""
        return self.settings.name

    @property
    def total(self) -> int:
        """Windows and lists."""
        return sum(len(self._starts(given)) + 1 for given in self.candidates)

    @property
    def prompt_tokens(self) -> int:
        """Of the instructions."""
        return self.prompt.tokens

    @property
    def reply_tokens(self) -> int:
        """A mark a document."""
        return MARK_TOKENS * self.settings.window

    def plan(self, model: Model, read: Read) -> Iterator[Sequence[Job]]:
        """For some hundred lists at a time: a round a window, and one for the whole orders."""
        for block in blocks(self.candidates):
            yield from self._rounds([self._list(given, model.name) for given in block], model, read)

    def _rounds(self, lists: Sequence[_List], model: Model, read: Read) -> Iterator[Sequence[Job]]:
        for one in lists:
            if read(one.whole) is not None:
                one.starts = []
        for number in range(max((len(one.starts) for one in lists), default=0)):
            going = [one for one in lists if not one.stuck and number < len(one.starts)]
            requests = [self._window(one, number, model.name) for one in going]
            yield [self._job(request, model) for request in requests]
            for one, request in zip(going, requests, strict=True):
                self._take(one, number, request, read(request))
        yield [no_call(one.whole, _label(one)) for one in lists if not one.stuck]

    def guess(self, request: LabelRequest) -> Label | None:
        """A window in the order it was shown."""
        windows = request.teacher == f"{self.name}/{PARTS}"
        return Label("order", [name for name, _ in request.input["documents"]], attempts=0) if windows else None

    def _starts(self, given: Candidates) -> list[int]:
        how, length = self.settings, len(given.texts)
        return window_starts(length, how.window, how.step) * how.passes if length > 1 else []

    def _list(self, given: Candidates, model: str) -> _List:
        how, order = self.settings, list(given.texts)
        texts = {name: without_marks(cut_words(text, how.words)) for name, text in given.texts.items()}
        parameters = {"window": how.window, "step": how.step, "passes": how.passes, **self._sampling()}
        asked = {"query": given.query, "documents": [[name, texts[name]] for name in order]}
        whole = LabelRequest(how.name, model, self.prompt.version, asked, parameters, context_id=given.context_id)
        return _List(given, texts, order, self._starts(given), whole)

    def _window(self, one: _List, number: int, model: str) -> LabelRequest:
        """The next window of a list, as the windows before have left it."""
        start = one.starts[number]
        shown = [[name, one.texts[name]] for name in one.order[start : start + self.settings.window]]
        parameters = {"max_tokens": MARK_TOKENS * len(shown) + 16, **self._sampling()}
        return LabelRequest(
            f"{self.name}/{PARTS}", model, self.prompt.version, {"query": one.given.query, "documents": shown},
            parameters, context_id=f"{one.given.context_id}#{number + 1}",
        )  # fmt: skip

    def _sampling(self) -> dict[str, float]:
        how = self.settings
        return {"least": how.least, "temperature": how.temperature} | ({} if how.seed is None else {"seed": how.seed})

    def _job(self, request: LabelRequest, model: Model) -> Job:
        how, shown = self.settings, request.input["documents"]
        passages = "\n\n".join(f"[{mark}] {text}" for mark, (_, text) in enumerate(shown, 1))
        fields = {"number": str(len(shown)), "query": request.input["query"], "passages": passages}
        most = int(request.parameters["max_tokens"])
        call = Generate(self.prompt.messages(fields), max_tokens=most, temperature=how.temperature, seed=how.seed)
        names = [name for name, _ in shown]

        def read(reply: Generated) -> Label:
            raw, finish = reply.texts[0], reply.finish[0] if reply.finish else "stop"
            parsed = parse_order(raw, names, least=how.least, finish=finish)
            return Label("order", parsed.value, raw, parsed.status, reason=parsed.reason)

        return one_call(request, call, read, model.bound(call))

    def _take(self, one: _List, number: int, request: LabelRequest, label: Label | None) -> None:
        """Put a window's order into its list; a malformed one changes nothing, a missing one ends the list."""
        if label is None:
            one.stuck = True
            return
        one.keys.append(request.key)
        if label.value is None:
            one.faults[MALFORMED] += 1
            return
        start = one.starts[number]
        one.order[start : start + len(label.value)] = label.value
        one.faults.update({fault: n for fault, n in count_reasons(label.reason).items() if fault in FAULTS})


def _label(one: _List) -> Label:
    """The whole order, with the faults of all its windows; malformed when no window was of use."""
    raw, why = json.dumps({PARTS: one.keys}), join_reasons(counts=one.faults)
    if one.keys and one.faults[MALFORMED] == len(one.keys):
        return Label("order", None, raw, "malformed", reason=why, attempts=0)
    return Label("order", one.order, raw, "repaired" if why else "ok", reason=why, attempts=0)
