"""The HTML report: self-contained, escaped, accessible, and never half written."""

import os
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from distillir.errors import EvaluationError
from distillir.evaluation import Latency, SystemResult, compare, render_report, write_report
from distillir.evaluation.plots import growth_plot

NASTY = "<script>alert('x')</script> & $\\frac{1}$ _"
QUERIES = [f"c{c}_{t}" for c in range(8) for t in range(1, 5)]
QRELS = {q: {"a": 1} for q in QUERIES}
DEPTH = {q: int(q[-1]) for q in QUERIES}
GROUP = {q: q.split("_")[0] for q in QUERIES}
RECORD = {
    "commit": "0f3a",
    "versions": {"numpy": "2.4", "<b>": "&"},
    "seed": 3,
    "settings": {"objective": {"kld": 0.9}, "edges": [1, 2]},
    "data": {"train": 345},
}
EXAMPLES = [
    {
        "question": "Is <it> free?",
        "turn": 3,
        "history": ["What is <Cloud>?", "A platform."],
        "systems": {
            "student": {
                "hits": [{"id": "<d1>", "text": "word " * 100, "score": 2.5, "relevant": True}, {"id": "d2"}],
                "terms": [("cheap", 0.5), ("free<", 2.25), *((f"t{i}", 0.1) for i in range(40))],
            },
            "last turn": {"hits": []},
        },
    },
    {"question": "Hello?", "turn": 1, "systems": {}},
]


def system(name, cost, worst):
    run = {q: ({"a": 1.0} if DEPTH[q] < worst else {"b": 1.0, "a": 0.5}) for q in QUERIES}
    active = {q: float(cost * DEPTH[q]) for q in QUERIES}
    flops = {q: a / 10 for q, a in active.items()}
    return SystemResult(name, run, Latency(2.0, 3.0, 4.5, 60), active, flops, note="<i>note</i>")


@pytest.fixture(scope="module")
def comparison():
    systems = [system("last turn", 50, 2), system("student", 5, 9), system(NASTY, 6, 3), system("_学生", 4, 4)]
    corpus = {q: "fiqa" if q < "c4" else "<cloud>" for q in QUERIES}
    return compare(systems, QRELS, DEPTH, GROUP, corpus=corpus, measures=("RR", "R@10", "R@100"), resamples=500)


@pytest.fixture(scope="module")
def page(comparison):
    return render_report(comparison, RECORD, f"Title {NASTY}", EXAMPLES)


class Reader(HTMLParser):
    """Elements, attributes, ids and text of a page; fails on elements closed out of order."""

    void = frozenset({"meta", "br"})

    def __init__(self, source):
        super().__init__()
        self.elements, self.ids, self.texts, self.open = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def svgs(source):
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)]


SVG = "{http://www.w3.org/2000/svg}"


def test_nothing_is_fetched_or_run(page):
    reader = Reader(page)
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page
    addresses = set(re.findall(r"https?://[^\"'\s<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, never fetched
    policy = next(a["content"] for t, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_text_is_escaped_everywhere(page):
    assert "<script" not in page
    assert "<i>note" not in page
    seen = "".join(Reader(page).texts)
    for said in (f"Title {NASTY}", "<i>note</i>", "versions.<b>", "Is <it> free?", "What is <Cloud>?", "free<", "<d1>"):
        assert said in seen


def test_page_is_for_phones_and_the_dark(page):
    attributes = [a for t, a in Reader(page).elements if t == "meta"]
    assert any(a.get("name") == "viewport" and "width=device-width" in a["content"] for a in attributes)
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 44rem" in page
    dark = page[page.index("prefers-color-scheme") :]
    used = set(re.findall(r"var\((--\w+)\)", page))
    assert {"--ink", "--grid", "--s1"} <= used
    for variable in used:  # each colour has a value for both
        assert f"{variable}:" in page[: page.index("prefers-color-scheme")]
        assert f"{variable}:" in dark
    assert "#fe00" not in page  # no stand-in colour is left


def test_plots_have_axes_legend_and_titles(page, comparison):
    drawings = svgs(page)
    titles = [drawing.find(f"{SVG}title").text for drawing in drawings]
    assert titles == [
        "R@100 by turn depth",
        "R@10 by turn depth",
        "active dims by turn depth",
        "R@100 against flops@2 corpora, log scale",
    ]
    for drawing in drawings:
        assert drawing.get("role") == "img"
        named = drawing.get("aria-labelledby").split()
        assert [drawing[0].get("id"), drawing[1].get("id")] == named
        assert drawing[1].text.startswith("last turn: ")
        words = ["".join(text.itertext()) for text in drawing.iter(f"{SVG}text")]
        assert [name for name in comparison.systems if name in words] == list(comparison.systems)
    words = ["".join(text.itertext()) for text in drawings[0].iter(f"{SVG}text")]
    assert {"R@100", "turn of the conversation", "1", "n=8"} <= set(words)
    assert {"R@100", "flops@2 corpora, log scale"} <= {"".join(t.itertext()) for t in drawings[3].iter(f"{SVG}text")}


def test_ids_are_unique_and_references_resolve(page):
    ids = Reader(page).ids
    assert len(ids) == len(set(ids))
    references = re.findall(r'xlink:href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert references
    assert set(references) <= set(ids)


def test_systems_have_their_own_colour_and_marker(comparison):
    plot = svgs(render_report(comparison, RECORD, "t"))[0]
    shapes = {}
    for group in plot.iter(f"{SVG}g"):
        for use in group.iter("{http://www.w3.org/2000/svg}use"):
            color = re.search(r"fill: var\((--\w+)\)", use.get("style", ""))
            if color:
                shapes.setdefault(color.group(1), set()).add(use.get("{http://www.w3.org/1999/xlink}href"))
    paths = {path.get("id"): path.get("d") for path in plot.iter(f"{SVG}path") if path.get("id")}
    drawn = {color: {paths[ref[1:]] for ref in refs} for color, refs in shapes.items() if color.startswith("--s")}
    assert set(drawn) == {"--s1", "--s2", "--s3"}
    outlines = [frozenset(shape) for shape in drawn.values()]
    assert len(set(outlines)) == 3


def test_numbers_of_the_table_are_those_of_the_comparison(page, comparison):
    cell = comparison.cells["student"]["mrr"]
    assert f"{cell.mean:.3f}" in page
    assert comparison.significant(cell)
    assert f"<b>{cell.delta:+.3f}</b>" in page
    weak = comparison.cells[NASTY]["r10"]
    assert weak.p_holm == 1
    assert f"<span>{weak.delta:+.3f}</span>" in page
    assert "2 ms" in page
    assert "99 %: 4.5 ms" in page


def test_record_shows_what_is_missing(page):
    seen = "\n".join(Reader(page).texts)
    assert re.search(r"settings\.objective\.kld\n+0\.9", seen)
    assert re.search(r"settings\.edges\n+1, 2", seen)
    assert re.search(r"contexts_with_gold\n+not recorded", seen)


def test_examples_come_by_turn_with_strongest_terms_first(page):
    seen = "".join(Reader(page).texts)
    assert seen.index("Turn 1") < seen.index("Hello?") < seen.index("Turn 3") < seen.index("Is <it> free?")
    assert seen.index("free<") < seen.index("cheap")
    assert "and 12 more" in seen
    assert "nothing found" in seen
    assert 40 < seen.count("word") < 60  # a passage of 100 words is cut
    assert seen.count("relevant · ") == 1


def test_growth_is_drawn_on_log_scales_with_its_points_in_words():
    lines = {"exact": [(10_000, 1.2), (100_000, 12.0)], "<other>": [(10_000, 2.0)]}
    svg = growth_plot(lines, plot="query", title="query by documents", x="documents", y="ms")
    texts = ["".join(one.itertext()) for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"10,000", "100,000", "2", "5", "10", "documents", "ms", "exact", "<other>"} <= set(texts)
    assert "exact: 10,000 1.2, 100,000 12; &lt;other&gt;: 10,000 2<" in svg
    assert "var(--s1)" in svg
    assert "#fe00" not in svg


def test_report_without_depth_or_costs_has_no_plots():
    plain = [SystemResult("a", {q: {"a": 1.0} for q in QUERIES})]
    source = render_report(compare(plain, QRELS, resamples=50), {}, "Plain")
    Reader(source)
    assert "<svg" not in source
    assert source.count("not recorded") == 6


def test_equal_costs_use_a_linear_axis():
    same = [system("a", 5, 2), system("b", 6, 3)]
    source = render_report(compare(same, QRELS, corpus="fiqa", resamples=50), {}, "t")
    assert "R@100 against flops@fiqa</title>" in source


def test_many_systems_and_long_names():
    many = [system(f"{'very ' * 12}long name {i}", 3 + i, 1 + i % 5) for i in range(17)]
    source = render_report(compare(many, QRELS, DEPTH, GROUP, corpus="c", resamples=50), {}, "t")
    assert len(svgs(source)) == 4


def test_report_is_the_same_every_time(comparison, page):
    assert render_report(comparison, RECORD, f"Title {NASTY}", EXAMPLES) == page


def test_written_file_and_folder(tmp_path, comparison, page):
    target = tmp_path / "deep" / "report.html"
    assert write_report(target, comparison, RECORD, f"Title {NASTY}", EXAMPLES) == target
    assert target.read_text(encoding="utf-8") == page
    assert [f.name for f in target.parent.iterdir()] == ["report.html"]


def test_failed_write_keeps_the_old_report(tmp_path, comparison, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EvaluationError, match="No space left"):
        write_report(target, comparison, RECORD, "t")
    assert target.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path, comparison):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=r"cannot write .*report\.html"):
        write_report(tmp_path / "file" / "report.html", comparison, RECORD, "t")
