"""The order of documents in a listwise reply: "[2] > [1] > [3]", JSON, or prose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillir.errors import LabelError
from distillir.labels.kinds import Status
from distillir.labels.parsing.reasons import join_reasons
from distillir.labels.parsing.wrapping import unwrap

BRACKETS = re.compile(r"\[([^\[\]\n]{1,200})\]")
NUMBER = re.compile(r"(?<![\w.])\d{1,9}(?!\w|\.\d)")
NUMBERING = re.compile(r"^\s*(\d{1,9})[.)]\s+(?=\S)", re.MULTILINE)
NAMES = ("id", "document", "passage", "doc", "index", "number")


@dataclass(frozen=True)
class ParsedOrder:
    """A reply's order.

    Attributes:
        value: all document ids, best first; None exactly when `status` is "malformed".
        status: "ok" when the reply named each document once and nothing else.
        reason: "missing:2; repeated:1", or why it is no use.
        missing: documents the reply left out.
        repeated: mentions after the first.
        invented: mentions of what was not in the list.
    """

    value: list[str] | None
    status: Status
    reason: str
    missing: int
    repeated: int
    invented: int


def parse_order(
    reply: str, ids: Sequence[str], *, numbered: bool = True, least: float = 0.5, finish: str = "stop"
) -> ParsedOrder:
    """Read a permutation of `ids` out of a reply.

    What counts as a mention: the items of a JSON list; else of the longest chain with ">"; else what stands in
    brackets; else the numbers (or ids) in the text, the numbering of lines left out. Repair, as RankGPT's readers do
    it: the first mention of a document counts, mentions of anything else are dropped, and documents that were left out
    follow in the order they were shown. Unlike there, a reply that names fewer than `least` of the documents is
    malformed: what it would teach is mostly the order of the first stage.

    Args:
        reply: any text.
        ids: documents in the order they were shown.
        numbered: whether they were shown as 1, 2, …; else by their ids.
        least: share of the documents a reply must name.
        finish: why the model stopped; noted when it is not "stop".

    Raises:
        LabelError: no ids, or one twice.
    """
    if not ids or len(set(ids)) != len(ids):
        raise LabelError(f"{len(ids)} documents to be ordered, {len(set(ids))} of them different", "name each once")
    known = {str(i): name for i, name in enumerate(ids, 1)} if numbered else {name: name for name in ids}
    text, taken = unwrap(reply)
    taken += [f"cut off ({finish})"] if finish != "stop" else []
    mentions = _mentions(text, known, numbered)
    order: list[str] = []
    seen: set[str] = set()
    repeated = invented = 0
    for mention in mentions:
        name = known.get(mention)
        if name is None:
            invented += 1
        elif name in seen:
            repeated += 1
        else:
            seen.add(name)
            order.append(name)
    missing = len(ids) - len(order)
    counts = {"missing": missing, "repeated": repeated, "invented": invented}
    if not order or len(order) < least * len(ids):
        why = "empty" if not text else "no order in it" if not order else "names too few"
        return ParsedOrder(None, "malformed", join_reasons([why, *taken], counts), **counts)
    order += [name for name in ids if name not in seen]
    repaired = missing or repeated or invented
    return ParsedOrder(order, "repaired" if repaired else "ok", join_reasons(taken, counts), **counts)


def _mentions(text: str, known: Mapping[str, str], numbered: bool) -> list[str]:
    """Document marks in the order of mention; of what is no document, whatever was written."""
    listed = _json_list(text)
    if listed is None and ">" in text:
        return _chain(text, known, numbered)
    if listed is None:
        listed = [part for match in BRACKETS.finditer(text) for part in re.split(r"[,;>]", match[1])]
    if listed:
        return [mark for item in listed if (mark := _mark(item, known, numbered))]
    if numbered:
        starts = [int(number) for number in NUMBERING.findall(text)]
        bare = NUMBERING.sub("", text)
        if starts == list(range(1, len(starts) + 1)) and NUMBER.search(bare):
            text = bare
    return _named(text, known, numbered)


def _chain(text: str, known: Mapping[str, str], numbered: bool) -> list[str]:
    """Marks of the longest chain "a > b > c" in a text; a part that names several ends one chain and opens the next."""
    parts = text.split(">")
    chains: list[list[str]] = [_named(parts[0], known, numbered)[-1:]]
    for part in parts[1:-1]:
        named = _named(part, known, numbered)
        chains[-1].append(named[0] if named else _mark(part, known, numbered))
        if len(named) > 1:
            chains.append(named[-1:])
    last = parts[-1]
    chains[-1] += _named(last, known, numbered)[:1] or [_mark(last.split()[0] if last.split() else "", known, numbered)]
    return [mark for mark in max(chains, key=len) if mark]


def _named(text: str, known: Mapping[str, str], numbered: bool) -> list[str]:
    """Marks in a text: its numbers, or the ids it holds."""
    if numbered:
        return [str(int(number)) for number in NUMBER.findall(text)]
    longest_first = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return [match[0] for match in re.finditer(rf"(?<!\w)(?:{longest_first})(?!\w)", text)]


def _mark(item: str, known: Mapping[str, str], numbered: bool) -> str:
    """What one item names: the document's mark, or the item itself when it is none."""
    item = item.strip().strip("[](){}\"'`*.,;").strip()
    if not numbered or item in known:
        return item
    numbers = NUMBER.findall(item)
    return str(int(numbers[0])) if numbers else item


def _json_list(text: str) -> list[str] | None:
    """Items of the one JSON list in a reply, which may be a field of an object and hold objects."""
    starts = [at for at in (text.find("["), text.find("{")) if at >= 0]
    if not starts:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[min(starts) :])
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        lists = [field for field in value.values() if isinstance(field, list)]
        value = lists[0] if len(lists) == 1 else None
    if not isinstance(value, list) or (len(value) < 2 and text.count("[") > 1):
        return None  # "[2] > [1]" opens with what looks like a list of one
    return list(_items(value))


def _items(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        named = next((value[name] for name in NAMES if name in value), "") if isinstance(value, dict) else value
        yield str(named)[:200]
