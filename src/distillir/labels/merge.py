"""Several sources of labels into one store: other stores, workers' shards, bundles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from distillir.errors import LabelError
from distillir.labels.bundle import FILE, Bundle
from distillir.labels.shards import Shard, shards_in
from distillir.labels.store import Conflict, LabelStore, Taken

SHOWN = 10


@dataclass(frozen=True)
class Merged:
    """What one source gave.

    Attributes:
        source: file.
        form: "store", "shard" or "bundle".
        read: labels in it. new: taken over. already: were there. conflicts: answered otherwise, kept aside.
        torn: half-written last records.
    """

    source: str
    form: str
    read: int
    new: int
    already: int
    conflicts: int
    torn: int = 0


@dataclass
class MergeReport:
    """All sources of a merge, and the answers that contradicted committed ones."""

    sources: list[Merged] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def new(self) -> int:
        """Labels taken over."""
        return sum(one.new for one in self.sources)

    def text(self) -> str:
        """One line a source, then the first conflicts."""
        lines = []
        for one in self.sources:
            line = f"{one.source} ({one.form}): {one.read} labels, {one.new} new, {one.already} already there"
            line += f", {one.conflicts} answered otherwise" if one.conflicts else ""
            lines.append(line + (f", {one.torn} half-written record left out" if one.torn else ""))
        for two in self.conflicts[:SHOWN]:
            lines.append(f"  {two.teacher} {two.context_id or two.key}: kept {two.kept[:60]}, aside {two.refused[:60]}")
        if len(self.conflicts) > SHOWN:
            lines.append(f"  and {len(self.conflicts) - SHOWN} more")
        if self.conflicts:
            lines.append("The answer committed first counts; the others are kept in the store's table of conflicts.")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def import_bundle(store: LabelStore, folder: str | Path) -> MergeReport:
    """Take over a bundle's labels under their keys; a second import changes nothing.

    Raises:
        DataError: no bundle, another version, a damaged file.
        LabelError: a row whose key or value is wrong.
    """
    bundle = Bundle(folder)
    uses = bundle.uses()
    taken = store.take(bundle, str(bundle.path), uses)
    return MergeReport([_merged(bundle.path, "bundle", taken)], taken.conflicts)


def merge(store: LabelStore, sources: Sequence[str | Path]) -> MergeReport:
    """Take over labels of other stores, shards, folders of shards, and bundles.

    Of two answers to one question the one committed to `store` first stays, so the order of sources decides between
    them; the other is kept aside and reported. Accounts of calls without a label stay where they were made. A merge
    that was interrupted, or is done twice, ends the same.

    Raises:
        LabelError: the store itself among the sources, or a source that is none.
        DataError: a damaged source.
    """
    report = MergeReport()
    for path, form in [pair for source in sources for pair in _forms(Path(source))]:
        if form == "bundle":
            found = import_bundle(store, path)
            report.sources += found.sources
            report.conflicts += found.conflicts
            continue
        if form == "shard":
            shard = Shard(path)
            taken = store.take(shard, str(path))
            report.sources.append(_merged(path, form, taken, shard.torn))
        else:
            if path.samefile(store.path):
                raise LabelError(f"{path} merged into itself", "name other stores")
            with LabelStore(path, create=False) as other:
                taken = store.take(other.rows(), str(path), other.uses())
            report.sources.append(_merged(path, form, taken))
        report.conflicts += taken.conflicts
    return report


def _merged(path: Path, form: str, taken: Taken, torn: int = 0) -> Merged:
    return Merged(str(path), form, taken.read, taken.new, taken.already, len(taken.conflicts), torn)


def _forms(path: Path) -> Iterable[tuple[Path, Literal["store", "shard", "bundle"]]]:
    """What lies at a path."""
    if path.is_dir():
        if (path / FILE).is_file():
            return [(path, "bundle")]
        shards = shards_in(path)
        if shards:
            return [(shard, "shard") for shard in shards]
        raise LabelError(f"{path}: neither a bundle nor shards in it", "give a store, a bundle or a folder of shards")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror}", "check the path") from None
    if head.startswith(b"PAR1"):
        return [(path, "bundle")]
    return [(path, "store" if head.startswith(b"SQLite format 3") else "shard")]
