"""HTML to blocks, through lxml: what a reader of the page reads, without scripts, styles and navigation.

Where the page says which part is its content (`main`, `role="main"`, or a single `article`), only that part is read.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from distillir.data.reading.blocks import Block, Headings, Parsed, UnreadableError, one_line
from distillir.data.reading.text import decode

_DECLARED = re.compile(
    rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_WINDOWS = {"iso8859-1", "ascii"}  # browsers read what calls itself so as Windows-1252
_TAGS_UNSEEN = """
    title script style noscript template svg math canvas iframe object audio video nav button select textarea dialog
"""
_TAGS_OF_BLOCKS = """
    address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hr html li main ol p pre section summary table tbody tfoot thead tr ul
"""
_ROLES_UNSEEN = "navigation search banner contentinfo complementary menu menubar toolbar"
_CLASSES_UNSEEN = """
    headerlink anchor-link viewcode-link linenos sidebar sphinxsidebar navbar nav-bar menu breadcrumb breadcrumbs
    pagination toc table-of-contents skip-link skipnav visually-hidden cookie-banner
"""  # permalinks, menus and line numbers of the usual site generators
_UNSEEN, _BLOCKS = frozenset(_TAGS_UNSEEN.split()), frozenset(_TAGS_OF_BLOCKS.split())
_UNSEEN_ROLES, _UNSEEN_CLASSES = frozenset(_ROLES_UNSEEN.split()), frozenset(_CLASSES_UNSEEN.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


def parse_html(data: bytes) -> Parsed:
    """Blocks of an HTML file; its title is the first heading of level 1, or what `title` says.

    Raises:
        UnreadableError: binary, not of the encoding it declares (UTF-8 where it declares none), empty.
    """
    root = _tree(decode(data, _declared(data)))
    content = _content(root)
    headline = next((one_line("".join(h.itertext())) for h in content.iter("h1")), "")
    named = root.find(".//title")
    title = headline.rstrip("¶ ") or (one_line("".join(named.itertext())) if named is not None else "")
    return Parsed(title, list(_blocks(content)))


def text_of_fragment(source: str) -> str:
    """The text of a piece of HTML, such as Markdown may hold; "" where it has none."""
    try:
        return " ".join(block.text for block in _blocks(_tree(source)))
    except UnreadableError:
        return ""


def _declared(data: bytes) -> str | None:
    """The encoding a page names in its first bytes, if Python knows it."""
    found = _DECLARED.search(data[:4096])
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
        "".encode(name)  # not every codec is one of text
    except (LookupError, UnicodeDecodeError):
        return None
    if name.startswith("utf-16"):  # a name that was readable as ASCII is not in UTF-16
        return "utf-8"
    return "cp1252" if name in _WINDOWS else name


def _tree(text: str) -> Any:
    from lxml import etree

    # Encoded by us: lxml refuses text that declares an encoding, and guesses for bytes that do not.
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        root = None
    if root is None:
        raise UnreadableError("no text in it")
    return root


def _content(root: Any) -> Any:
    mains = root.xpath("//main | //*[@role='main']")
    articles = root.xpath("//article")
    if mains:
        return mains[0]
    return articles[0] if len(articles) == 1 else root


def _unseen(element: Any) -> bool:
    if element.tag in _UNSEEN or element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if element.tag == "footer":
        return not any(parent.tag in ("article", "main") for parent in element.iterancestors())
    return element.get("role") in _UNSEEN_ROLES or not _UNSEEN_CLASSES.isdisjoint(element.get("class", "").split())


def _blocks(root: Any) -> Iterator[Block]:
    """Walk the tree; a block element ends the block before it, as its own end does."""
    from lxml import etree

    collected = _Collected()
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag
        if event == "start":
            collected.line = element.sourceline or collected.line
            if element is not root and _unseen(element):
                walk.skip_subtree()
                continue
            if tag in _BLOCKS:
                yield from collected.end()
            if tag == "pre":
                collected.verbatim = True
            elif tag == "li":
                collected.mark = "- "
            if tag == "br":
                collected.add("\n" if collected.verbatim else " ")
            collected.add(element.text)
            continue
        seen = element is root or not _unseen(element)
        if seen and tag in _HEADINGS:
            collected.heading(_HEADINGS[tag])
        elif seen and tag in _BLOCKS:
            yield from collected.end()
            collected.mark = ""
        elif seen and tag in ("td", "th"):
            collected.add(" | ")
        if element is not root:
            collected.add(element.tail)
    yield from collected.end()


class _Collected:
    """Text since the last block ended, and the line the walk has reached."""

    def __init__(self) -> None:
        self.line = 1
        self.mark = ""
        self.verbatim = False
        self._start = 0
        self._parts: list[str] = []
        self._headings = Headings()

    def add(self, text: str | None) -> None:
        if not text:
            return
        if not self._start and text.strip():
            self._start = self.line + text[: len(text) - len(text.lstrip())].count("\n")
        if self._start:
            self._parts.append(text)
        self.line += text.count("\n")

    def heading(self, level: int) -> None:
        self._headings.enter(level, self._taken())
        self.mark = ""

    def end(self) -> Iterator[Block]:
        start, raw, verbatim = self._start, "".join(self._parts), self.verbatim
        text = self._taken()
        if text:
            last = start + raw.strip().count("\n")
            yield Block(self.mark + text, start, last, self._headings.path, verbatim)
            self.mark = ""

    def _taken(self) -> str:
        raw = "".join(self._parts).replace("\xad", "")
        text = raw.strip("\n").rstrip() if self.verbatim else one_line(raw).removesuffix(" |").removesuffix("|").strip()
        self._parts, self._start, self.verbatim = [], 0, False
        return text
