"""A team's chat logs become contexts: read, clean, split at silences, mask, write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from distillir.data.chats.chains import Chains
from distillir.data.chats.chat import SURROGATE, Chat, Roles
from distillir.data.chats.contexts import SPLITS, Names, Turns, contexts_of, part_name, split_of
from distillir.data.chats.json_values import json_entries
from distillir.data.chats.mask import Masker
from distillir.data.chats.report import ImportReport, report_path
from distillir.data.chats.sessions import Message, messages_of, split_at_gaps
from distillir.data.chats.sniff import READERS, TABLE, format_of
from distillir.data.chats.table import Columns, read_tables
from distillir.data.chats.tally import Tally
from distillir.data.conversations import Context
from distillir.data.files import replacing_lines
from distillir.errors import ConfigError, DataError

EXAMPLES = 5


@dataclass(frozen=True)
class ImportOptions:
    """How logs are read and what is written.

    Attributes:
        format: one of `FORMATS`, or "auto".
        columns: columns of tables.
        roles: words for speakers, beside the known ones.
        gap: seconds of silence after which a new session begins; None = never.
        turns: which questions of a session become contexts.
        split: shares of train, dev and test; None = one file.
        seed: of the split.
        masker: masks personal data; None = texts stay as they are.
        strict: a bad row is an error.
    """

    format: str = "auto"
    columns: Columns = field(default_factory=Columns)
    roles: Roles = field(default_factory=Roles)
    gap: float | None = 30 * 60
    turns: Turns = "all"
    split: tuple[float, float, float] | None = None
    seed: int = 13
    masker: Masker | None = None
    strict: bool = False


def import_chats(paths: Sequence[str | Path], out: str | Path, options: ImportOptions | None = None) -> ImportReport:
    """Read chat logs and write a conversations file, or train, dev and test files, and a report beside it.

    Everything is written or nothing. JSON logs are read twice, a row at a time: first to find requests that are
    repeated in longer ones, then to write; tables are held in memory. With a masker, ids are numbers in the order
    of the log, since session ids may be names or telephone numbers.

    Args:
        paths: logs, each in a format of its own.
        out: the file (.jsonl or .jsonl.gz); with a split, the folder of `train.jsonl`, `dev.jsonl`, `test.jsonl`.
        options: None = the defaults.

    Raises:
        DataError: a log cannot be read; a bad row, when strict; nothing is left; a split would be empty.
        ConfigError: options that contradict each other or the logs.
    """
    options, out = options or ImportOptions(), Path(out)
    sources = [(Path(path), *format_of(Path(path), options.format)) for path in paths]
    if not sources:
        raise ConfigError("no log is named", "give at least one file")
    targets = _targets(out, options)
    _spare(targets, [path for path, _, _ in sources])
    report = ImportReport({str(path): format for path, format, _ in sources})
    report.tally = Tally(options.strict, private=options.masker is not None)
    report.masked = None if options.masker is None else options.masker.counts
    with ExitStack() as stack:
        if options.split is not None and not out.exists():
            stack.callback(_remove_empty, out)
        written = _Written(targets, options, stack)
        for session, context in _contexts(sources, options, report):
            report.contexts[str(written.add(session, context))] += 1
            report.examples += [context.id][: EXAMPLES - len(report.examples)]
        _check(report, sources[0][0], targets)
        with replacing_lines(report_path(out)) as stream:
            stream.write(json.dumps(report.to_dict(), indent=1).encode() + b"\n")
    return report


def _targets(out: Path, options: ImportOptions) -> dict[str, Path]:
    """Split -> file to write; "" where there is no split."""
    if options.split is None:
        return {"": out}
    if out.suffix in (".jsonl", ".gz"):
        raise ConfigError(f"{out} is a file's name, and a split writes three", "give a folder to write them to")
    return {name: out / f"{name}.jsonl" for name, share in zip(SPLITS, options.split, strict=True) if share}


def _spare(targets: dict[str, Path], logs: Sequence[Path]) -> None:
    """Refuse to write over a log."""
    for target in targets.values():
        if target.exists() and any(target.samefile(log) for log in logs):
            raise ConfigError(f"{target} is one of the logs", "give another --out")


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


class _Written:
    """The output files; each is opened when its first context comes."""

    def __init__(self, targets: dict[str, Path], options: ImportOptions, stack: ExitStack) -> None:
        self.targets, self.options, self.stack = targets, options, stack
        self.streams: dict[Path, BinaryIO] = {}

    def add(self, session: str, context: Context) -> Path:
        """Write one line, and say where."""
        split = self.options.split
        path = self.targets[split_of(session, split, self.options.seed) if split is not None else ""]
        if path not in self.streams:
            self.streams[path] = self.stack.enter_context(replacing_lines(path))
        row = {"id": context.id, "group": context.group, "messages": context.conversation.messages()}
        self.streams[path].write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        return path


Source = tuple[Path, str, str]


def _contexts(sources: Sequence[Source], options: ImportOptions, report: ImportReport) -> Iterator[tuple[str, Context]]:
    """(session as logged, context)."""
    names, tally = Names(), report.tally
    for label, messages in _chats(sources, options, report):
        parts = split_at_gaps(messages, options.gap) or [[]]
        name = names.give(label if options.masker is None else f"c{report.chats}")
        mask = options.masker.conversation() if options.masker is not None else None
        tally.sessions.noted["begins after a silence"] += len(parts) - 1
        for number, part in enumerate(parts, start=1):
            tally.sessions.read += 1
            asked = sum(message.role == "user" for message in part)
            if not asked:
                tally.sessions.dropped["no question"] += 1
                continue
            if asked == 1 and options.turns == "follow-ups":
                tally.sessions.dropped["one question only"] += 1
                continue
            report.turns[asked] += 1
            said = part if mask is None else [Message(m.role, mask(m.text), m.time) for m in part]
            yield from ((label, context) for context in contexts_of(part_name(name, number), said, options.turns))


def _chats(
    sources: Sequence[Source], options: ImportOptions, report: ImportReport
) -> Iterator[tuple[str, list[Message]]]:
    """(name as logged, turns) of every chat that no longer one repeats."""
    tally, chains = report.tally, Chains()
    for chat in _json_chats(sources, Tally()):
        chains.add(chat, messages_of(chat, options.roles, Tally()))
    for number, chat in enumerate(_json_chats(sources, tally)):
        if number == len(chains.labels):
            break  # the log has grown since the first pass: what is new is left to the next import
        if number in chains.repeated:
            tally.rows.dropped["repeated in a longer request, or twice"] += 1
            continue
        report.chats += 1
        yield chains.labels[number], messages_of(chat, options.roles, tally)
    for chat in read_tables([(p, head) for p, format, head in sources if format == TABLE], options.columns, tally):
        report.chats += 1
        yield chat.label, messages_of(chat, options.roles, tally)


def _json_chats(sources: Sequence[Source], tally: Tally) -> Iterator[Chat]:
    for path, format, head in sources:
        if format == TABLE:
            continue
        for entry in json_entries(path, head):
            tally.rows.read += 1
            chat = None if entry.wrong else READERS[format](entry.value)
            if chat is None:
                tally.bad(tally.rows, entry.wrong or f"not a chat in the format {format}", path, entry.line)
            elif SURROGATE.search(chat.label):
                tally.bad(tally.rows, "half a character", path, entry.line)
            else:
                yield replace(chat, path=path, line=entry.line)


def _check(report: ImportReport, first: Path, targets: dict[str, Path]) -> None:
    """Refuse an import of nothing, and a split without a part."""
    tally = report.tally
    if not report.contexts:
        dropped = tally.rows.dropped + tally.messages.dropped + tally.sessions.dropped
        why = "; ".join(f"{n} {reason}" for reason, n in dropped.most_common(3))
        cure = "see which rows the log really has, and name its --format or its columns"
        if tally.messages.dropped["unknown role"]:
            roles = ", ".join(repr(role) for role, _ in tally.unknown_roles.most_common(3))
            cure = f"name the speakers by --user-role and --assistant-role{f' (roles here: {roles})' if roles else ''}"
        raise DataError(first, f"no question is left{f' ({why})' if why else ''}", cure=cure)
    for path in targets.values():
        if str(path) not in report.contexts:
            few = f"the split leaves it empty: {report.chats} chats are too few"
            raise DataError(path, few, cure="try larger shares or another seed")
