"""Labels to publish or to carry elsewhere: a folder with `labels.parquet`, its card, `README.md`, and the prompts.

Keys travel with the labels, so whoever imports a bundle asks nobody for them again. Inputs do not: only their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillir.data.files import replacing, replacing_lines
from distillir.errors import DataError, LabelError
from distillir.labels.card import Card
from distillir.labels.kinds import Kind
from distillir.labels.portable import from_record, to_record
from distillir.labels.private import refuse_secret_prompts, refuse_secrets
from distillir.labels.reader import LabelReader, chunks
from distillir.labels.records import StoredLabel, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "labels.parquet"
CARD = "README.md"
PROMPTS = "prompts"  # VERSION.yaml each
FORMAT = {b"distillir": b"labels", b"distillir_version": b"1"}
TEXT_COLUMNS = ("key", "teacher", "model", "prompt_version", "parameters", "input_hash", "kind", "value", "raw")
LATER_TEXT_COLUMNS = ("status", "reason", "scale", "model_id", "created")
WHOLE_COLUMNS = ("sample_index", "tokens_in", "tokens_out", "attempts")


@dataclass(frozen=True)
class Exported:
    """What was written where.

    Attributes:
        untold: versions of prompts whose text was not given.
    """

    folder: Path
    labels: int
    contexts: int
    untold: tuple[str, ...] = ()


def export_bundle(
    store: LabelReader,
    folder: str | Path,
    *,
    teacher: str | None = None,
    kind: Kind | None = None,
    licence: str = "",
    title: str = "Labels",
    raw: bool = True,
    allow_secrets: bool = False,
    prompts: Mapping[str, str] | None = None,
) -> Exported:
    """Write a bundle; files of an earlier one are replaced, each whole.

    Args:
        store: with the labels.
        folder: of the bundle; made when missing.
        teacher: only this one's.
        kind: only these.
        licence: of the labels, for the card: an identifier such as "cc-by-4.0". Whether a provider's terms permit it
            is for you to find out.
        title: of the card.
        raw: whether replies go along as they came.
        allow_secrets: export even what looks like a key or password.
        prompts: version → text; those that the labels were made with go along.

    Raises:
        LabelError: no such label, or something that looks like a key or password in a label or a prompt.
        DataError: the disk refuses.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder, card = Path(folder), Card(title, licence, raw)
    ranks: dict[str, list[int]] = {}
    names: dict[str, list[str]] = {}
    for rank, (context, key) in enumerate(store.uses(teacher, kind)):
        ranks.setdefault(key, []).append(rank)
        names.setdefault(key, []).append(context)
    labels, versions = 0, set[str]()
    with replacing(folder / FILE) as temporary, pq.ParquetWriter(temporary, _schema(), compression="zstd") as writer:
        for chunk in chunks(store.rows(teacher, kind)):
            records = []
            for row in chunk:
                record = to_record(row) | ({} if raw else {"raw": ""})
                record |= {"context_ids": names.get(row.key, []), "context_order": ranks.get(row.key, [])}
                record |= {"parameters": canonical_json(row.parameters), "value": canonical_json(row.label.value)}
                record |= {"seconds": float(row.label.seconds), "cost": float(row.label.cost)}
                if not allow_secrets:
                    refuse_secrets(row, record)
                card.add(row)
                versions.add(row.prompt_version)
                records.append(record)
            writer.write_table(pa.Table.from_pylist(records, _schema()))
            labels += len(records)
        if not labels:
            raise LabelError(f"{store.path}: no label to export", "see `distillir labels list`")
        told = {version: text for version, text in (prompts or {}).items() if version in versions}
        if not allow_secrets:
            refuse_secret_prompts(told)
    with replacing_lines(folder / CARD) as out:
        out.write(card.text().encode("utf-8"))
    _write_prompts(folder / PROMPTS, told)
    contexts = len({name for names_of in names.values() for name in names_of})
    return Exported(folder, labels, contexts, tuple(sorted(versions - told.keys() - {""})))


def _write_prompts(folder: Path, told: Mapping[str, str]) -> None:
    """Those and no others: an earlier bundle's would seem to belong to these labels."""
    for stale in folder.glob("*.yaml"):
        if stale.stem not in told:
            stale.unlink()
    for version, text in told.items():
        folder.mkdir(exist_ok=True)
        with replacing_lines(folder / f"{version}.yaml") as out:
            out.write(text.encode("utf-8"))


class Bundle:
    """The labels of a bundle, read as often as it is iterated.

    Attributes:
        path: of the Parquet file.

    Raises:
        DataError: no such file, no bundle, a newer version, or a damaged file.
        LabelError: a row whose key or value is wrong.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path) / FILE if Path(path).is_dir() else Path(path)

    def __iter__(self) -> Iterator[StoredLabel]:
        number = 0
        for batch in self._batches(None):
            for record in batch:
                number += 1
                where = f"{self.path}, row {number}"
                del record["context_order"]
                try:
                    record |= {name: json.loads(record[name]) for name in ("parameters", "value")}
                except (TypeError, ValueError, RecursionError):
                    raise LabelError(f"{where}: parameters or value are not JSON", "export it again") from None
                yield from_record(record, where)

    def uses(self) -> list[tuple[str, str]]:
        """(Context, key), the latest last."""
        ordered = []
        for batch in self._batches(["key", "context_ids", "context_order"]):
            for record in batch:
                ranked = zip(record["context_order"] or (), record["context_ids"] or (), strict=False)
                ordered += [(rank, context, record["key"]) for rank, context in ranked]
        return [(context, key) for _, context, key in sorted(ordered)]

    def _batches(self, columns: list[str] | None) -> Iterator[list[dict[str, Any]]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        again = "export or fetch it again"
        try:
            with pq.ParquetFile(self.path) as file:
                schema = file.schema_arrow
                metadata = schema.metadata or {}
                if metadata.get(b"distillir") != b"labels":
                    raise DataError(self.path, "a Parquet file of something else", cure="give a folder made by export")
                if metadata.get(b"distillir_version") != FORMAT[b"distillir_version"]:
                    raise DataError(self.path, "a label bundle of another version", cure="update distillir")
                if not schema.remove_metadata().equals(_schema().remove_metadata()):
                    raise DataError(self.path, "a label bundle with other columns", cure=again)
                for batch in file.iter_batches(500, columns=columns):
                    yield batch.to_pylist()
        except FileNotFoundError:
            raise DataError(self.path, "no such file", cure="give a folder made by `distillir labels export`") from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(self.path, f"a damaged or unreadable bundle: {error}", cure=again) from None


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            *((name, pa.string()) for name in TEXT_COLUMNS),
            *((name, pa.string()) for name in LATER_TEXT_COLUMNS),
            *((name, pa.int64()) for name in WHOLE_COLUMNS),
            ("seconds", pa.float64()),
            ("cost", pa.float64()),
            ("context_ids", pa.list_(pa.string())),
            ("context_order", pa.list_(pa.int64())),
        ],
        metadata=FORMAT,
    )
