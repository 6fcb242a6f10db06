"""A log's bytes become text: plain or gzipped, with what cannot be decoded marked instead of fatal."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from distillir.data.files import GZIP_MAGIC
from distillir.errors import DataError

HEAD = 1 << 20
NOT_TEXT = {
    b"PK\x03\x04": ("a zip archive", "unpack it and give the chat file inside, such as conversations.json"),
    b"PAR1": ("a Parquet file", "write it as CSV or JSONL"),
    b"SQLite format 3": ("an SQLite database", "export its message table as CSV"),
    b"\xff\xfe": ("UTF-16 text", "convert the file to UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "convert the file to UTF-8"),
}


@contextmanager
def open_log(path: Path, newline: str) -> Iterator[TextIO]:
    """The file's text without a byte order mark; bytes that are not UTF-8 become lone surrogates.

    Raises:
        DataError: missing, unreadable, a folder, binary, a damaged or truncated gzip.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if zipped else path.open("rb") as raw:
            stream = cast(BinaryIO, raw)
            _refuse_binary(path, stream.read(8192))
            stream.seek(0)
            yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    except EOFError:
        raise DataError(path, "the gzip file ends early (truncated)", cure="fetch or write it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"damaged gzip: {error}", cure="fetch or write it again") from None
    except FileNotFoundError:
        raise DataError(path, "no such file", cure="check the path") from None
    except IsADirectoryError:
        raise DataError(path, "a folder, not a file", cure=f"name its files, such as {path}/*.jsonl") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None


def read_head(path: Path) -> str:
    """The first million characters.

    Raises:
        DataError: as `open_log`, or there is nothing but blanks.
    """
    with open_log(path, newline="") as stream:
        head = stream.read(HEAD)
    if not head.strip():
        raise DataError(path, "the file is empty", cure="check the path, or write it again")
    return head


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, (what, cure) in NOT_TEXT.items():
        if head.startswith(magic):
            raise DataError(path, f"{what}, not UTF-8 text", cure=cure)
    if b"\0" in head:
        raise DataError(path, "a binary file, not text", cure="give JSON, JSONL, CSV or TSV")
