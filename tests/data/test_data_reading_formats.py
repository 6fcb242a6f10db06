"""Each format to blocks: what is read, under which headings, on which lines."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillir.data.reading.blocks import UnreadableError
from distillir.data.reading.html import parse_html
from distillir.data.reading.markdown import parse_markdown
from distillir.data.reading.pdf import parse_pdf
from distillir.data.reading.text import decode, parse_text


def told(parsed):
    return [(b.text, b.headings, b.start, b.end) for b in parsed.blocks]


# Markdown


def test_markdown():
    parsed = parse_markdown(
        "# Guide\n\nRead *this*, `code` and\n[the rest](https://example.org/x).\n\n"  # lines 1–5
        "## Install\n\n- one\n- two\n  more\n\n1. first\n\n"  # 6–13
        "```bash\n# no heading\npip install x\n```\n\n"  # 14–18
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n"  # 19–22
        "Setext\n------\n![a picture](x.png) <b>bold</b>\n\n# Last\nend\n"  # 23–28
    )
    assert parsed.title == "Guide"
    assert told(parsed) == [
        ("Read this, code and the rest.", ("Guide",), 3, 4),
        ("- one", ("Guide", "Install"), 8, 8),
        ("- two more", ("Guide", "Install"), 9, 10),
        ("1. first", ("Guide", "Install"), 12, 12),
        ("# no heading\npip install x", ("Guide", "Install"), 14, 17),
        ("a | b\n1 | 2", ("Guide", "Install"), 19, 21),
        ("a picture bold", ("Guide", "Setext"), 25, 25),
        ("end", ("Last",), 28, 28),
    ]
    assert [b.verbatim for b in parsed.blocks] == [False, False, False, False, True, True, False, False]


def test_front_matter_gives_the_title_and_is_no_text():
    parsed = parse_markdown('---\nlayout: page\ntitle: "The Guide"\n---\n# Other\ntext\n')
    assert parsed.title == "The Guide"
    assert told(parsed) == [("text", ("Other",), 6, 6)]
    assert parse_markdown("---\n\nno front matter\n").title == ""
    assert told(parse_markdown("---\n\nno front matter\n"))[0][0] == "no front matter"


def test_html_inside_markdown_is_read_without_its_tags():
    parsed = parse_markdown(
        "<p align=center><img src=x><b>Badge</b></p>\n<!-- hidden -->\n\n<style>p {}</style>\n\n# T\n\nx\n"
    )
    assert parsed.title == "T"
    assert [b.text for b in parsed.blocks] == ["Badge", "x"]


# HTML

PAGE = """<!DOCTYPE html>
<html><head><title>Guide — Project</title><style>p { color: red }</style></head>
<body><nav><a href=/>Home</a></nav><div role="search">Search</div>
<div class="sidebar left">Contents</div>
<main><header><h1>Guide<a class="headerlink" href="#g">¶</a></h1></header>
<p>First &amp; <b>fore</b>most
on two lines.<script>alert("x")</script>
<p>Unclosed
<h2>Install</h2><ul><li>one</li><li><p>two</p></li></ul>
<pre>
  $ pip
    install
</pre>
<table><tr><th>a</th><th>b</th></tr>
<tr><td>1</td><td>2</td></tr></table>
<dl><dt>term</dt><dd>meaning</dd></dl>
<p hidden>secret</p><p aria-hidden="true">icon</p><template>later</template>
</main><footer>Imprint</footer></body></html>
"""


def test_html():
    parsed = parse_html(PAGE.encode())
    assert parsed.title == "Guide"
    install = ("Guide", "Install")
    assert told(parsed) == [
        ("First & foremost on two lines.", ("Guide",), 6, 7),
        ("Unclosed", ("Guide",), 8, 8),
        ("- one", install, 9, 9),
        ("- two", install, 9, 9),
        ("  $ pip\n    install", install, 11, 12),
        ("a | b", install, 14, 14),
        ("1 | 2", install, 15, 15),
        ("term", install, 16, 16),
        ("meaning", install, 16, 16),
    ]
    assert [b.verbatim for b in parsed.blocks].index(True) == 4


def test_without_a_main_part_the_whole_body_is_read_but_for_menus_and_footer():
    parsed = parse_html(
        b"<title>T</title><nav>menu</nav><header>Banner</header><div>text<br>more</div><footer>x</footer>"
    )
    assert parsed.title == "T"
    assert [b.text for b in parsed.blocks] == ["Banner", "text more"]
    one = parse_html(b"<p>around</p><article><p>inside</p><footer>by me</footer></article>")
    assert [b.text for b in one.blocks] == ["inside", "by me"]
    two = parse_html(b"<article>first</article><article>second</article>")
    assert [b.text for b in two.blocks] == ["first", "second"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('<meta charset="latin1"><p>Grüße „x“'.encode("cp1252"), "Grüße „x“"),
        ('<?xml version="1.0" encoding="utf-8"?><html><body><p>Grüße</p></body></html>'.encode(), "Grüße"),
        ("<p>Grüße".encode(), "Grüße"),
        ("\ufeff<p>Grüße".encode(), "Grüße"),
        ("\ufeff<p>Grüße".encode("utf-16-le"), "Grüße"),
        (b'<meta charset="no-such"><p>x', "x"),
        (b'<meta charset="base64"><p>x', "x"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=shift_jis"><p>東京'.encode("shift_jis"), "東京"),
    ],
)
def test_the_encoding_of_html_is_what_it_declares(data, text):
    assert [b.text for b in parse_html(data).blocks] == [text]


def test_html_of_another_encoding_than_it_declares():
    with pytest.raises(UnreadableError, match=r"not UTF-8 \(byte 5\)"):
        parse_html("<p>Gr\xfc\xdfe".encode("latin-1"))
    assert next(iter(parse_html(b"<p>&#xD800; &#0; &bogus; x").blocks)).text.endswith("x")


def test_html_nested_without_end_is_read_as_far_as_the_parser_goes():
    parsed = parse_html(b"<p>start</p>" + b"<div>" * 100_000 + b"deep")
    assert next(iter(parsed.blocks)).text == "start"


def test_html_without_text_has_no_blocks():
    with pytest.raises(UnreadableError, match="no text in it"):
        parse_html(b"<!-- only a comment -->")
    for data in (b"<script>x</script>", b"<html></html>", b"<p> </p>"):
        assert list(parse_html(data).blocks) == []


# Text


def test_text():
    parsed = parse_text(
        "=====\nTitle\n=====\n\nOne\ntwo.\n\nPart\n----\n\nExample::\n\n    a = 1\n\n    b = 2\n\nAfter it.\n\n"  # 1–18
        ".. _label:\n\nSub\n~~~\n    indented prose\n    goes on\n\nNext\n----\n* item\n"  # 19–28
    )
    assert parsed.title == "Title"
    assert told(parsed) == [
        ("One two.", ("Title",), 5, 6),
        ("Example::", ("Title", "Part"), 11, 11),
        ("a = 1", ("Title", "Part"), 13, 13),
        ("b = 2", ("Title", "Part"), 15, 15),
        ("After it.", ("Title", "Part"), 17, 17),
        ("indented prose goes on", ("Title", "Part", "Sub"), 23, 24),
        ("* item", ("Title", "Next"), 28, 28),
    ]
    assert [b.text for b in parsed.blocks if b.verbatim] == ["a = 1", "b = 2"]


def test_a_row_that_is_no_heading():
    assert told(parse_text("A long line of text\n-----\nmore")) == [("A long line of text ----- more", (), 1, 3)]
    assert told(parse_text("one\n\n-----\n\ntwo")) == [("one", (), 1, 1), ("two", (), 5, 5)]
    (table,) = parse_text("a    b\n1    2\n3    4\n").blocks
    assert (table.text, table.verbatim) == ("a    b\n1    2\n3    4", True)


def test_plain_text_has_no_title():
    assert parse_text("just text").title == ""
    assert parse_text("first\n\nPart\n====\ntext").title == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b" \r\n\t ", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a binary file, not text"),
        ("a\0b".encode("utf-16"), "a binary file, not text"),
        (b"caf\xe9", "not UTF-8"),
        (b"\xff\xfea", "not UTF-16-LE"),
    ],
)
def test_bytes_that_are_no_text(data, reason):
    with pytest.raises(UnreadableError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_a_byte_order_mark_decides_and_line_ends_are_one():
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert decode("Grüße\r\nund\rmehr".encode(encoding)) == "Grüße\nund\nmehr"


# PDF


def pdf(*pages: str, encrypted: bool = False, title: str = "") -> bytes:
    """A PDF file of one line of Helvetica a page, written out by hand."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{4 + 2 * i} 0 R' for i in range(len(pages)))}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        content = f"BT /F1 12 Tf 72 720 Td {lines}ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    more = f"/Info {len(objects)} 0 R"
    if encrypted:  # no password opens it: the check value is of none
        objects.append(f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{'11' * 32}> /U <{'22' * 32}> >>")
        more += f" /Encrypt {len(objects)} 0 R /ID [<{'33' * 16}> <{'33' * 16}>]"
    out, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    return (
        f"{out}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R {more} >>\nstartxref\n{len(out)}\n%%EOF\n"
    ).encode("latin-1")


def test_pdf(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf("First page\nof two lines.", "", "Third page.", title="The Manual"))
    parsed = parse_pdf(tmp_path / "a.pdf")
    assert (parsed.title, parsed.unit) == ("The Manual", "pages")
    assert told(parsed) == [("First page of two lines.", (), 1, 1), ("Third page.", (), 3, 3)]


def test_words_broken_at_the_end_of_a_line_are_whole_again(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf("a conver-\nsation of well-\nknown turns, COVID-\n19"))
    (block,) = parse_pdf(tmp_path / "a.pdf").blocks
    assert block.text.startswith("a conversation of well")
    assert "turns, COVID" in block.text


def test_pdf_that_a_program_wrote(tmp_path):
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    with PdfPages(tmp_path / "a.pdf", metadata={"Title": "Plots"}) as pages:
        for text in ("The spice must flow.", "Fear is the mind-killer."):
            page = Figure()
            page.text(0.1, 0.5, text)
            pages.savefig(page)
    parsed = parse_pdf(tmp_path / "a.pdf")
    assert parsed.title == "Plots"
    assert [b.text for b in parsed.blocks] == ["The spice must flow.", "Fear is the mind-killer."]


def test_pdf_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("secret", encrypted=True))
    with pytest.raises(UnreadableError, match="an encrypted PDF"):
        parse_pdf(path)
    for broken in (b"%PDF-1.7\n%%EOF", b"", b"<html>not found</html>", pdf("x")[:40]):
        path.write_bytes(broken)
        with pytest.raises(UnreadableError, match="not a readable PDF"):
            parse_pdf(path)


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("<>/pdivh1=\"' \n&;#a!-`|*[]()_~x\t>"), min_size=1, max_size=300).filter(str.strip))
def test_any_markup_is_read(source):
    for parsed in (parse_markdown(source), parse_html(f"<p>first</p>{source}".encode())):
        for block in parsed.blocks:
            assert block.text.strip()
            assert 1 <= block.start <= block.end <= source.count("\n") + 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_a_damaged_pdf_is_read_in_part_or_refused(tmp_path_factory, place, noise):
    data = pdf("First page.", "Second page.")
    place %= len(data)
    path = tmp_path_factory.mktemp("pdf") / "a.pdf"
    path.write_bytes(data[:place] + noise + data[place + len(noise) :])
    with suppress(UnreadableError):
        blocks = list(parse_pdf(path).blocks)
        assert all(block.text for block in blocks)
        assert [b.start for b in blocks] == sorted({b.start for b in blocks})
