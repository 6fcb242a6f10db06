"""What a store holds and what it cost, group by group: the table of `distillir labels list`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from distillir.labels.reader import LabelReader

GROUP = "teacher, model, prompt_version"


@dataclass(frozen=True)
class LabelGroup:
    """Labels of one kind by one teacher, model and prompt.

    Attributes:
        teacher: name under which they are fused.
        kind: of the labels; "" where there is none yet.
        model: asked.
        prompt_version: of the prompt.
        scale: of their numbers, "" if none is named; several are joined by "/".
        ok: labels as they came. repaired: after a repair. malformed: kept, not used.
        contexts: that have one of them as their label.
        attempts: calls made, those that ended without a label included.
        failures: requests given up (they may have been answered later).
        possibly_paid: calls that may be on the bill without a label: leases that ran out and time-outs.
        in_flight: requests leased at the moment.
        tokens_in: of prompts. tokens_out: of replies. seconds: of calls. cost: of all.
        first: time of the first label. last: of the latest.
    """

    teacher: str
    kind: str
    model: str
    prompt_version: str
    scale: str = ""
    ok: int = 0
    repaired: int = 0
    malformed: int = 0
    contexts: int = 0
    attempts: int = 0
    failures: int = 0
    possibly_paid: int = 0
    in_flight: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    first: str = ""
    last: str = ""

    @property
    def labels(self) -> int:
        """All of them."""
        return self.ok + self.repaired + self.malformed


def overview(store: LabelReader, moment: float) -> list[LabelGroup]:
    """Every teacher, model, prompt and kind of a store, in that order.

    What has no kind (calls without a label, leases) counts with the first kind of its teacher, model and prompt.

    Args:
        store: to look at.
        moment: seconds since the epoch: a lease that ended before it is a call possibly paid.
    """
    with store.reading() as db:
        found = db.execute(
            "SELECT teacher, kind, model, prompt_version, group_concat(DISTINCT nullif(scale, '')), "  # noqa: S608
            "sum(status = 'ok'), sum(status = 'repaired'), sum(status = 'malformed'), "
            "(SELECT count(DISTINCT u.context_id) FROM uses u JOIN labels l USING (key) WHERE "
            "(l.teacher, l.model, l.prompt_version, l.kind) = "
            "(labels.teacher, labels.model, labels.prompt_version, labels.kind)), "
            "sum(attempts), sum(tokens_in), sum(tokens_out), sum(seconds), sum(cost), min(created), max(created) "
            f"FROM labels GROUP BY {GROUP}, kind ORDER BY {GROUP}, kind"
        ).fetchall()
        failed = db.execute(
            f"SELECT {GROUP}, count(DISTINCT key), sum(attempts), sum(possibly_paid), sum(cost) "  # noqa: S608
            f"FROM failures GROUP BY {GROUP}"
        ).fetchall()
        lost: Counter[tuple[str, ...]] = Counter()
        leased: Counter[tuple[str, ...]] = Counter()
        for *group, until in db.execute(f"SELECT {GROUP}, until FROM leases"):  # noqa: S608
            (leased if until > moment else lost)[tuple(group)] += 1
        lost.update(tuple(row) for row in db.execute(f"SELECT {GROUP} FROM takeovers"))  # noqa: S608
    groups: dict[tuple[str, ...], list[LabelGroup]] = {}
    for teacher, kind, model, prompt, scale, ok, repaired, bad, contexts, attempts, *spent in found:
        tokens_in, tokens_out, seconds, cost, first, last = spent
        group = LabelGroup(
            teacher, kind, model, prompt, (scale or "").replace(",", "/"), ok, repaired, bad, contexts, attempts,
            tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds, cost=cost, first=first, last=last,
        )  # fmt: skip
        groups.setdefault((teacher, model, prompt), []).append(group)

    def add(name: tuple[str, ...], **more: Any) -> None:
        one, *others = groups.get(name, [LabelGroup(name[0], "", name[1], name[2])])
        groups[name] = [replace(one, **{field: getattr(one, field) + value for field, value in more.items()}), *others]

    for teacher, model, prompt, requests, attempts, paid, cost in failed:
        add((teacher, model, prompt), failures=requests, attempts=attempts, possibly_paid=paid, cost=cost)
    for name, number in lost.items():
        add(name, possibly_paid=number)
    for name, number in leased.items():
        add(name, in_flight=number)
    return [group for name in sorted(groups) for group in groups[name]]
