"""PDF to blocks, one a page, through PDFium. A scanned page has no text and gives none: nothing is read optically."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillir.data.reading.blocks import Block, Parsed, UnreadableError, one_line

_ONE_AT_A_TIME = threading.Lock()  # PDFium must not be entered by two threads, not even with two files
# A word broken at the end of a line: PDFium writes U+FFFE or U+0002 for the hyphen it knows to be one.
_BROKEN = re.compile(r"(?<=\w)[\ufffe\x02]\s*|(?<=[a-zß-ÿ])-\r?\n(?=[a-zß-ÿ])")
_UNWANTED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\xad\ufffe\uffff]")


def parse_pdf(path: Path) -> Parsed:
    """Pages of a PDF file; its title is the one in its metadata.

    Raises:
        UnreadableError: not a PDF file, damaged, or encrypted.
    """
    import pypdfium2 as pdfium

    with _ONE_AT_A_TIME:
        try:
            document = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as error:
            if "password" in str(error).lower():
                raise UnreadableError("an encrypted PDF") from None
            raise UnreadableError("not a readable PDF", str(error).rstrip(".")) from None
        title = _clean(document.get_metadata_value("Title"))
    return Parsed(title, _pages(document), "pages")


def _pages(document: Any) -> Iterator[Block]:
    import pypdfium2 as pdfium

    try:
        for number in range(len(document)):
            with _ONE_AT_A_TIME:
                try:
                    page = document[number]
                    shown = page.get_textpage()
                    text = shown.get_text_bounded()
                    shown.close()
                    page.close()
                except pdfium.PdfiumError as error:
                    raise UnreadableError("a damaged page in a PDF", f"page {number + 1}: {error}") from None
            if text := _clean(text):
                yield Block(text, number + 1, number + 1)
    finally:
        with _ONE_AT_A_TIME:
            document.close()


def _clean(text: str) -> str:
    whole = _UNWANTED.sub("", _BROKEN.sub("", text))
    return one_line(whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
