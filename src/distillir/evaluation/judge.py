"""A blind sheet for people who compare two systems, and what they said.

Which system stands under A is drawn for every pair; some pairs come a second time with the sides swapped, so that a
judge who always prefers one side is noticed. The key stays with whoever made the sheet.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from distillir.errors import EvaluationError

COLUMNS = ("item", "conversation", "A", "B", "verdict")
VERDICTS = ("A", "B", "tie")
_FORMULA = ("=", "+", "-", "@", "\t")  # what a spreadsheet takes for a formula


@dataclass(frozen=True)
class Judged:
    """What the judges said.

    Attributes:
        wins: system → verdicts for it, a pair once a judge. ties: verdicts for neither. blank: items without a verdict.
        p: of a sign test, two-sided: so many more wins for one of two equal systems; with several
            judges of the same pairs it is too small.
        side_a: share of A among verdicts that are no tie; far from .5 is a preference for a side.
        consistent: share of pairs shown twice of which a judge said the same both times; None without such pairs.
        agreement: share of pairs on which two judges said the same, kappa: beyond chance (Cohen 1960), both means over
            all pairs of judges; None with one judge, kappa also where chance alone explains everything.
    """

    wins: dict[str, int]
    ties: int
    blank: int
    p: float
    side_a: float | None
    consistent: float | None
    agreement: float | None
    kappa: float | None

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))


def write_sheet(
    path: Path,
    key: Path,
    pairs: Mapping[str, tuple[str, str, str]],
    systems: tuple[str, str],
    *,
    twice: float = 0.2,
    seed: int = 0,
) -> int:
    """Write the sheet (CSV) and its key (JSON); how many items it has. Pairs of equal responses are left out.

    Args:
        path, key: files to write.
        pairs: context id → conversation as text, the first system's response, the second's.
        systems: their names, which the sheet does not tell.
        twice: share of pairs shown again with the sides swapped. seed: of sides and order.

    Raises:
        EvaluationError: nothing to compare, one name for both, or a share outside 0 … 1.
    """
    different = {name: pair for name, pair in pairs.items() if pair[1] != pair[2]}
    if not different:
        raise EvaluationError("the systems respond alike everywhere", "there is nothing to judge")
    if systems[0] == systems[1] or not 0 <= twice <= 1:
        raise EvaluationError(f"systems {systems}, {twice} shown twice", "give two names and a share from 0 to 1")
    rng = np.random.default_rng(seed)
    names = [list(different)[i] for i in rng.permutation(len(different))]
    first = [(name, bool(rng.integers(2))) for name in names]
    again = [(name, not swapped) for name, swapped in first[: round(twice * len(first))]]
    # A pair returns at the end, where its first verdict is long past.
    shown = [*first, *[again[i] for i in rng.permutation(len(again))]]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for item, (name, swapped) in enumerate(shown, start=1):
            text, one, two = different[name]
            sides = (two, one) if swapped else (one, two)
            writer.writerow([item, *map(_cell, (text, *sides)), ""])
    items = {str(i): {"context": name, "A": systems[swapped]} for i, (name, swapped) in enumerate(shown, start=1)}
    key.write_text(json.dumps({"systems": list(systems), "seed": seed, "items": items}, indent=1) + "\n", "utf-8")
    return len(shown)


def read_sheets(paths: Sequence[Path], key: Path) -> Judged:
    """What the judges said, one sheet a judge.

    Raises:
        EvaluationError: files that cannot be read or do not belong together, a verdict that is none, or no verdict.
    """
    try:
        told = json.loads(key.read_text(encoding="utf-8"))
        systems = (str(told["systems"][0]), str(told["systems"][1]))
        items = {str(i): (str(one["context"]), str(one["A"])) for i, one in told["items"].items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise EvaluationError(
            f"{key}: no key of a sheet ({error})", "give the file that was written with it"
        ) from error
    judges = [_verdicts(path, items) for path in paths]
    sides: Counter[str] = Counter()
    said: Counter[str] = Counter()
    opinions: list[dict[str, list[str]]] = []
    for verdicts in judges:
        held: dict[str, list[str]] = {}
        for item, verdict in verdicts.items():
            context, under_a = items[item]
            other = systems[1] if under_a == systems[0] else systems[0]
            winner = {"A": under_a, "B": other, "tie": "tie"}[verdict]
            sides[verdict] += 1
            said[winner] += context not in held  # a pair that returns is no second witness
            held.setdefault(context, []).append(winner)
        opinions.append(held)
    if not sides:
        raise EvaluationError("no sheet has a verdict", f"write {', '.join(VERDICTS)} into the last column")
    one, two = said[systems[0]], said[systems[1]]
    repeated = [found[0] == found[1] for held in opinions for found in held.values() if len(found) == 2]
    agreement, kappa = _agreement(opinions)
    return Judged(
        wins={systems[0]: one, systems[1]: two},
        ties=said["tie"],
        blank=len(items) * len(judges) - sides.total(),
        p=sign_test(one, two),
        side_a=sides["A"] / (sides["A"] + sides["B"]) if sides["A"] + sides["B"] else None,
        consistent=sum(repeated) / len(repeated) if repeated else None,
        agreement=agreement,
        kappa=kappa,
    )


def sign_test(one: int, two: int) -> float:
    """Two-sided probability of a split at least that uneven under equal chances; ties are left out."""
    count = one + two
    tail = sum(math.comb(count, i) for i in range(min(one, two) + 1))
    return float(min(1.0, 2 * tail / 2**count))


def _verdicts(path: Path, items: Mapping[str, object]) -> dict[str, str]:
    """Item → verdict of one sheet, blanks left out."""
    found: dict[str, str] = {}
    known = {verdict.lower(): verdict for verdict in VERDICTS}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"item", "verdict"} <= set(rows.fieldnames or ()):
                raise EvaluationError(f"{path}: no sheet, its columns are {rows.fieldnames}", "give a filled sheet")
            for row in rows:
                item, verdict = (row["item"] or "").strip(), (row["verdict"] or "").strip().lower()
                if item not in items or item in found:
                    raise EvaluationError(
                        f"{path}:{rows.line_num}: item {item!r}", "give sheets of this key, unchanged"
                    )
                if verdict and verdict not in known:
                    raise EvaluationError(
                        f"{path}:{rows.line_num}: verdict {verdict!r}", f"write {', '.join(VERDICTS)}, or nothing"
                    )
                if verdict:
                    found[item] = known[verdict]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: cannot be read ({error})", "save it as CSV in UTF-8") from error
    return found


def _agreement(opinions: Sequence[Mapping[str, Sequence[str]]]) -> tuple[float | None, float | None]:
    """Mean share and mean kappa over pairs of judges, on a context's first verdicts."""
    shares, kappas = [], []
    for one, two in combinations(opinions, 2):
        both = [(one[name][0], two[name][0]) for name in one if name in two]
        if not both:
            continue
        share = sum(a == b for a, b in both) / len(both)
        left, right = (Counter(pair[i] for pair in both) for i in (0, 1))
        chance = sum(left[verdict] * right[verdict] for verdict in left) / len(both) ** 2
        shares.append(share)
        if chance < 1:
            kappas.append((share - chance) / (1 - chance))
    return (float(np.mean(shares)) if shares else None, float(np.mean(kappas)) if kappas else None)


def _cell(text: str) -> str:
    return f" {text}" if text.startswith(_FORMULA) else text
