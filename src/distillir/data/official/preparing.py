"""Writing a release as files that a recipe names; what is written is kept, row by row of it in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillir.data.conversations import Context, write_contexts
from distillir.data.files import replacing, replacing_lines
from distillir.data.official.dataset import DataSet, Part
from distillir.data.published import write_documents
from distillir.data.qrels import write_qrels
from distillir.data.responses import write_responses
from distillir.errors import ConfigError, DataError
from distillir.vectors.files import FolderLock

RECORD = "prepared.json"
STEP = 1_000_000  # rows between two words on how far it is


@dataclass
class Prepared:
    """What a folder of prepared data holds.

    Attributes:
        rows: name of a file → its rows.
        groups: name of a file of contexts → conversations in it.
        dropped: name of a file → rows left out, because their question is blank.
        lacking: name of a file of contexts → judged queries that are not among them.
        reused: names of the files that were there already.
        other: judged queries that are not there, and counts that are not those of the release.
    """

    rows: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def prepare(
    data: DataSet,
    source: str | Path,
    out: str | Path,
    *,
    partial: bool = False,
    corpus: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Prepared:
    """Write what a release holds into a folder, each file all or nothing.

    A file that is there and whose sources have not changed is not written again; after a kill, the file that was being
    written begins anew.

    Args:
        data: which data set.
        source: folder of the release.
        out: folder to write into.
        partial: accept counts that are not those of the release, and judged queries that are not there.
        corpus: write the passages too; without, the files that only they are made of need not be there.
        say: hears every million rows.

    Raises:
        DataError: files that are missing (and where their owners offer them) or malformed (file and line), judged
            queries that are not there, or counts that are not those of the release. What was written well stays, and
            is not written again.
        ConfigError: `out` holds another data set.
        VectorsError: another process writes there.
    """
    source, out = Path(source), Path(out)
    found = data.find(source, corpus=corpus)
    parts = [part for part in data.parts(found, source) if corpus or part.kind != "documents"]
    _make(out)
    lock = FolderLock(out / ".lock")
    try:
        record = _record(out, data.name)
        for rest in out.rglob(".*.tmp"):  # of a process that was killed: it may be as large as a corpus
            rest.unlink(missing_ok=True)
        done = Prepared()
        for part in parts:
            stamp = [[str(path.relative_to(source)), *_size(path)] for path in part.sources]
            known = record["parts"].get(part.name)
            target = out / part.name
            if known and known["sources"] == stamp and _there(part, known, target):
                done.reused.append(part.name)
            else:
                known = {"sources": stamp, **_write(part, target, say), "bytes": target.stat().st_size}
                record["parts"][part.name] = known
                with replacing(out / RECORD) as temporary:
                    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            done.rows[part.name] = known["rows"]
            if "groups" in known:
                done.groups[part.name], done.dropped[part.name] = known["groups"], known["dropped"]
            if known.get("lacking"):
                done.lacking[part.name] = known["lacking"]
                done.other.append(_unasked(part, known))
    finally:
        lock.release()
    done.other += _compare(data, done)
    if done.other and not partial:
        raise DataError(
            source,
            f"{data.name}: {'; '.join(done.other)}",
            cure="fetch the files again, or accept a part of the release with --partial",
        )
    return done


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}", "name a folder that can be written") from error


def _record(out: Path, name: str) -> dict[str, Any]:
    path = out / RECORD
    empty: dict[str, Any] = {"data_set": name, "parts": {}}
    if not path.is_file():
        return empty
    found: Any = None
    with suppress(ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("parts"), dict):
        return empty  # nothing is known of what lies there, so it is written again
    if found.get("data_set") != name:
        raise ConfigError(f"{out} holds {found.get('data_set')!r}", f"choose another folder for {name}")
    return found


def _size(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _there(part: Part, known: dict[str, Any], target: Path) -> bool:
    """Whether a part lies there as it was written, with all known of it that is asked now."""
    counted = part.judged is None or "lacking" in known
    return counted and target.is_file() and target.stat().st_size == int(known["bytes"])


def _unasked(part: Part, known: dict[str, Any]) -> str:
    named = " and ".join(path.name for path in part.sources)
    told = f"{known['lacking']:,} of {known['judged']:,} judged queries are not there, {known['first']!r} the first"
    return f"{part.name}: {told} ({named} are not of one release, or not whole)"


def _write(part: Part, target: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write a part; its rows, and conversations where it has such."""
    counted = _Counting(part, say)
    if part.kind == "qrels":
        qrels = part.rows()
        write_qrels(target, qrels)
        counted.rows = sum(map(len, qrels.values()))
    elif part.kind == "documents":
        write_documents(target, counted)
    elif part.kind == "responses":
        write_responses(target, counted)
    elif part.kind == "contexts":
        write_contexts(target, counted.contexts())
        return {
            "rows": counted.rows,
            "groups": len(counted.groups),
            "dropped": counted.dropped,
            **counted.unmet(),
        }
    else:
        with replacing_lines(target) as lines:
            for name, texts in counted:
                lines.write(json.dumps({"id": name, "answers": texts}, ensure_ascii=False).encode() + b"\n")
    if not counted.rows:
        target.unlink(missing_ok=True)
        raise DataError(part.sources[0], f"nothing for {part.name} in it", cure="check that it is the release's file")
    return {"rows": counted.rows}


class _Counting:
    """The rows of a part, counted as they pass."""

    def __init__(self, part: Part, say: Callable[[str], None]) -> None:
        self.part, self.say = part, say
        self.rows = self.dropped = 0
        self.groups: set[str] = set()
        self.seen: set[str] = set()

    def __iter__(self) -> Iterator[Any]:
        for row in self.part.rows():
            self.rows += 1
            if self.rows % STEP == 0:
                self.say(f"{self.part.name}: {self.rows:,} rows")
            yield row

    def contexts(self) -> Iterator[Context]:
        for context in self.part.rows():
            if context.id in self.seen:
                raise DataError(
                    self.part.sources[0], f"the context {context.id!r} is there twice", cure="fetch the file again"
                )
            self.seen.add(context.id)
            if not context.conversation.question.strip():
                self.dropped += 1
                continue
            self.rows += 1
            self.groups.add(context.group)
            yield context
        if not self.rows:
            path = self.part.sources[0]
            raise DataError(path, f"nothing for {self.part.name} in it", cure="check that it is the release's file")

    def unmet(self) -> dict[str, Any]:
        """Judged queries that no row was of; a blank one was there, and counts as dropped."""
        if self.part.judged is None:
            return {}
        judged = self.part.judged()
        lacking = [name for name in judged if name not in self.seen]
        return {"judged": len(judged), "lacking": len(lacking), "first": next(iter(lacking), "")}


def _compare(data: DataSet, done: Prepared) -> list[str]:
    """Counts that are not those of the release."""
    other = []
    for count in data.counts:
        if not all(name in done.rows for name in count.parts):
            continue
        named = " and ".join(count.parts)
        rows = sum(done.rows[name] + done.dropped.get(name, 0) for name in count.parts)
        if count.rows is not None and rows != count.rows:
            other.append(f"{named}: {rows:,} rows where the release has {count.rows:,}")
        groups = sum(done.groups.get(name, 0) for name in count.parts)
        if count.groups is not None and groups != count.groups:
            other.append(f"{named}: {groups:,} conversations where the release has {count.groups:,}")
    return other
