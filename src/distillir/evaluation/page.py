"""The shell of a self-contained HTML page: no script, nothing fetched, light and dark, readable on a phone."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

# Nothing may be loaded or run; only the page's own styles apply.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

# Series colours after Okabe and Ito, lighter on the dark page; every series also has its own marker.
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1c1f; --soft: #5b6169; --grid: #d5d9de; --tint: #f4f6f8;
  --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b0568f; --s5: #c98500; --s6: #3d9bd1; --s7: #7a6f00; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e8eaed; --soft: #a3a9b1; --grid: #3b4047;
  --tint: #1f2226; --s1: #4ea6e0; --s2: #f08a3c; --s3: #2fc49a; --s4: #dd92c1; --s5: #f0b030; --s6: #8fd0f5;
  --s7: #d6ca4a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 60rem; }
.soft, caption, small { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; padding: .25rem 0 .5rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--grid); }
thead th { font-weight: 600; border-bottom-width: 2px; }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 8rem; }
td small { display: block; font-size: .82rem; white-space: nowrap; }
.change { font-size: .9rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figcaption { font-weight: 600; margin-bottom: .25rem; }
figure svg { display: block; width: 100%; max-width: 36rem; height: auto; stroke-linejoin: round; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif !important; }
details { border: 1px solid var(--grid); border-radius: .4rem; padding: .5rem .8rem; margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
ol { padding-left: 1.4rem; margin: .4rem 0; }
.terms { display: flex; flex-wrap: wrap; gap: .3rem; margin: .4rem 0; }
.terms span { background: var(--tint); border: 1px solid var(--grid); border-radius: .3rem; padding: 0 .4rem; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 0 1.5rem; }
@media (max-width: 44rem) {
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards, .cards tbody, .cards tr, .cards th, .cards td { display: block; }
  .cards tr { border: 1px solid var(--grid); border-radius: .4rem; padding: .5rem .8rem; margin: .8rem 0; }
  .cards th, .cards td { border: 0; padding: .25rem 0; }
  .cards td { display: grid; grid-template-columns: 7.5rem 1fr; column-gap: .4rem; }
  .cards td::before { content: attr(data-label); color: var(--soft); grid-row: 1 / span 3; }
  .cards caption { display: block; }
  .cards td small { display: inline; margin-left: .4rem; }
  .cards td > * { grid-column: 2; }
}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole document; `title` is text, `body` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{text(title)}</h1>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """A value as text, inside an element or a quoted attribute."""
    return html.escape(str(value), quote=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", cards: bool = False) -> str:
    """A table whose cells are HTML; the first cell of a row heads it, `cards` stacks the rows on a phone."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in zip(head[1:], rest, strict=True))
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    note = f"<caption>{caption}</caption>" if caption else ""
    kind = ' class="cards"' if cards else ""
    return (
        f'<div class="scroll"><table{kind}>{note}<thead><tr>{columns}</tr></thead>\n'
        f"<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )


def flatten(record: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    pairs: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            pairs += flatten(value, f"{prefix}{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            pairs.append((f"{prefix}{name}", ", ".join(map(str, value))))
        else:
            pairs.append((f"{prefix}{name}", str(value)))
    return pairs
