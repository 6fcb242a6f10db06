"""What a labelling will take, before anything is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distillir.errors import LabelError
from distillir.labels.reader import LabelReader
from distillir.labels.records import LabelRequest

CALIBRATE = 20  # labels of the same teacher, model and prompt before their mean is believed
MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a provider asks for.

    Attributes:
        input: per million tokens of prompt. output: per million tokens of reply. call: for each call.
        currency: for display.
    """

    input: float = 0.0
    output: float = 0.0
    call: float = 0.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not all(0 <= amount < float("inf") for amount in (self.input, self.output, self.call)):
            raise LabelError(f"prices {self}", "give finite prices of 0 or more")

    def of(self, calls: float, tokens_in: float, tokens_out: float) -> float:
        """The price of so much."""
        return calls * self.call + (tokens_in * self.input + tokens_out * self.output) / MILLION


@dataclass(frozen=True)
class Estimate:
    """What is to be asked and what it will cost; `at_most` is the price if every reply is as long as it may be.

    Attributes:
        requests: given. repeated: of them with the key of another. stored: answered already.
        calls: left to make.
        tokens_in: of their prompts. tokens_out: expected of their replies.
        price: expected. at_most: upper end; None when replies have no token limit.
        seconds: of calls, one after another; None before there is experience.
        currency: of the prices.
        how: the rules behind the token counts.
    """

    requests: int
    repeated: int
    stored: int
    calls: int
    tokens_in: int
    tokens_out: int
    price: float
    at_most: float | None
    seconds: float | None
    currency: str
    how: tuple[str, ...]

    def text(self) -> str:
        """A few lines."""
        most = "no limit on replies" if self.at_most is None else f"at most {self.at_most:,.2f}"
        lines = [
            f"{self.requests:,} requests: {self.stored:,} answered already, {self.repeated:,} repeated, "
            f"{self.calls:,} calls to make",
            f"{self.tokens_in:,} tokens in, about {self.tokens_out:,} out",
            f"about {self.price:,.2f} {self.currency} ({most})",
        ]
        if self.seconds is not None:
            lines.append(f"about {self.seconds / 3600:,.2f} hours of calls, to be divided by how many run at once")
        return "\n".join([*lines, *(f"  {rule}" for rule in self.how)])

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


def count_tokens(text: str) -> int:
    """A guess for any tokenizer: a token for 4 Latin characters, for 2 of other alphabets, for 1 from U+2E80 on.

    From there on come Han, kana and Hangul. Good to about a third for English; give a tokenizer's own count for more.
    """
    quarters = sum(1 if ord(c) < 0x250 else 2 if ord(c) < 0x2E80 else 4 for c in text)
    return -(-quarters // 4)


def estimate(
    requests: Iterable[LabelRequest],
    store: LabelReader | None = None,
    *,
    price: Price | None = None,
    tokens: Callable[[str], int] | None = None,
    prompt_tokens: int = 0,
    reply_tokens: int = 64,
    most_tokens: int | None = None,
) -> Estimate:
    """Calls, tokens and price of a labelling. Nothing is written, not even to the store.

    With 20 labels of the same teacher, model and prompt in the store, their mean tokens and seconds replace the rules.

    Args:
        requests: all that will be asked for.
        store: with what is answered already.
        price: of the provider; None = nothing.
        tokens: counts a text's tokens; None = `count_tokens`.
        prompt_tokens: of what every prompt holds besides the request's input: instructions and examples.
        reply_tokens: of a reply, where the store has no experience.
        most_tokens: limit on a reply; None = the request's parameter "max_tokens", if it has one.
    """
    every = list(requests)
    distinct = {request.key: request for request in every}
    known = store.known(distinct) if store is not None else set()
    open_ones = [request for key, request in distinct.items() if key not in known]
    price, count = price or Price(), tokens or count_tokens
    rule = "tokens by the tokenizer given" if tokens else "a token for every 4 Latin characters, fewer for others"
    total_in = total_out = 0.0
    seconds: float | None = 0.0
    most: float | None = 0.0
    how: dict[str, None] = {}
    for (teacher, model, prompt), group in _groups(open_ones).items():
        seen, mean_in, mean_out, mean_seconds = _experience(store, teacher, model, prompt)
        if seen:
            total_in += mean_in * len(group)
            total_out += mean_out * len(group)
            seconds = None if seconds is None else seconds + mean_seconds * len(group)
            how[
                f"{teacher}: {mean_in:.0f} tokens in, {mean_out:.0f} out, {mean_seconds:.2f} s by its {seen} labels"
            ] = None
        else:
            total_in += sum(count(_text(request.input)) + prompt_tokens for request in group)
            total_out += reply_tokens * len(group)
            seconds = None
            how[f"{teacher}: {rule}, {prompt_tokens} a prompt besides, {reply_tokens} a reply"] = None
        limits = [most_tokens if most_tokens is not None else request.parameters.get("max_tokens") for request in group]
        limited = most is not None and all(isinstance(limit, int) for limit in limits)
        most = most + sum(limit for limit in limits if limit) if most is not None and limited else None
    calls = len(open_ones)
    return Estimate(
        requests=len(every),
        repeated=len(every) - len(distinct),
        stored=len(known),
        calls=calls,
        tokens_in=round(total_in),
        tokens_out=round(total_out),
        price=price.of(calls, total_in, total_out),
        at_most=None if most is None else price.of(calls, total_in, most),
        seconds=seconds if calls else 0.0,
        currency=price.currency,
        how=tuple(how),
    )


def _groups(requests: Sequence[LabelRequest]) -> dict[tuple[str, str, str], list[LabelRequest]]:
    groups: dict[tuple[str, str, str], list[LabelRequest]] = {}
    for request in requests:
        groups.setdefault((request.teacher, request.model, request.prompt_version), []).append(request)
    return groups


def _experience(store: LabelReader | None, *group: str) -> tuple[int, float, float, float]:
    """Labels of a group that were asked for, and their mean tokens in, out and seconds; zeros if too few."""
    if store is None:
        return 0, 0.0, 0.0, 0.0
    with store.reading() as db:
        row = db.execute(
            "SELECT count(*), avg(tokens_in), avg(tokens_out), avg(seconds) FROM labels "
            "WHERE (teacher, model, prompt_version) = (?, ?, ?) AND tokens_in > 0",
            group,
        ).fetchone()
    return tuple(row) if row[0] >= CALIBRATE else (0, 0.0, 0.0, 0.0)


def _text(value: Any) -> str:
    """All strings of an input, a line each."""
    if isinstance(value, str):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return "\n".join(_text(one) for one in inner)
