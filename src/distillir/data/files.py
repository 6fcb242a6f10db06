"""Text files in, plain or gzipped, with a line number in every complaint; files out, all or nothing."""

from __future__ import annotations

import bz2
import codecs
import gzip
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

from distillir.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = re.compile(rb"BZh[1-9]1AY&SY")
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    r"""Yield (1-based line number, line without its "\n" or "\r\n"); blank lines are skipped.

    Gzip and bzip2 are recognised by their first bytes, not by the file's name.

    Raises:
        DataError: the file is missing, unreadable, binary, not UTF-8, a truncated or damaged gzip, or has no line.
    """
    path, number, seen = Path(path), 0, False
    try:
        with _opened(path) as stream:
            for number, raw in enumerate(stream, start=1):
                line = _decode(path, number, raw)
                if line.strip():
                    seen = True
                    yield number, line
    except EOFError:
        raise DataError(
            path, "the packed file ends early (truncated)", line=number + 1, cure="fetch or write it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"damaged gzip: {error}", line=number + 1, cure="fetch or write it again") from None
    except FileNotFoundError:
        raise DataError(path, "no such file", cure="check the path") from None
    except OSError as error:
        raise DataError(
            path, f"cannot be read: {error.strerror or error}", cure="check the path and its rights"
        ) from None
    if not seen:
        raise DataError(path, "the file is empty", cure="check the path, or write it again")


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(10)
    if head.startswith(GZIP_MAGIC):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return cast(IO[bytes], bz2.open(path, "rb")) if BZIP2_MAGIC.match(head) else path.open("rb")


def plain_or_packed(folder: Path, name: str) -> Path:
    """`name` in `folder`, or `name`.gz where only that is there."""
    plain, packed = folder / name, folder / f"{name}.gz"
    return packed if packed.exists() and not plain.exists() else plain


def _decode(path: Path, number: int, raw: bytes) -> str:
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if number == 1 and raw.startswith(UTF16):
        raise DataError(path, "UTF-16, not UTF-8", line=number, cure="convert the file to UTF-8")
    if b"\0" in raw:
        raise DataError(path, "a binary file, not text", line=number, cure="give a text file")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            path, f"not UTF-8 (byte {error.start} of the line)", line=number, cure="convert the file to UTF-8"
        ) from None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it becomes `path` when the block ends well, else it is removed.

    The content is on disk before the name changes, so a reader, or the next start after a kill,
    sees the old file or the whole new one.

    Raises:
        DataError: the disk refused (full, read-only, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            path, f"cannot be written: {error.strerror or error}", cure="free space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_lines(path: str | Path) -> Iterator[BinaryIO]:
    """A binary stream that becomes `path` when the block ends well; gzipped when the name ends in .gz."""
    with replacing(path) as temporary, temporary.open("wb") as raw:
        if Path(path).suffix != ".gz":
            yield raw
            return
        # No name and no time in the header: the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)
