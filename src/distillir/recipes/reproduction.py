"""A paper's experiment again: its data prepared, its recipe run, its figures beside ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distillir.data import Corpus, Run, read_contexts, read_qrels, read_run, write_run
from distillir.data.official import Prepared, data_set, prepare
from distillir.data.official.matching import hits_at, read_answers
from distillir.errors import ConfigError
from distillir.evaluation import evaluate
from distillir.recipes.generative_open import open_generative_retriever
from distillir.recipes.kinds import kind_of
from distillir.recipes.marks import write_text
from distillir.recipes.published_figures import HITS, Figure, Published, published, recipes_folder
from distillir.recipes.recipe import options_in
from distillir.recipes.systems import bm25

RESULT = "reproduction.json"


@dataclass(frozen=True)
class Row:
    """One published value and ours."""

    system: str
    measure: str
    published: float | None
    ours: float | None
    note: str

    @property
    def difference(self) -> float | None:
        """Ours less the published one, where both are known."""
        return None if self.published is None or self.ours is None else self.ours - self.published


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Attributes:
        method: name. out: folder of data, recipe and run. rows: the figures.
        remarks: why they cannot be held against the published ones, or not all.
    """

    method: str
    out: Path
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        rows = [{**asdict(row), "difference": row.difference} for row in self.rows]
        return {"method": self.method, "out": str(self.out), "rows": rows, "remarks": list(self.remarks)}

    def text(self) -> str:
        """For people."""
        width = max(len(f"{row.system} {row.measure}") for row in self.rows)
        lines = [f"{'':<{width}}  published   ours  difference"]
        for row in self.rows:
            theirs, ours = ("–" if value is None else f"{value:.3f}" for value in (row.published, row.ours))
            apart = "–" if row.difference is None else f"{row.difference:+.3f}"
            lines.append(f"{f'{row.system} {row.measure}':<{width}}  {theirs:>9}  {ours:>5}  {apart:>10}  {row.note}")
        return "\n".join([*lines, *(f"note: {remark}" for remark in self.remarks)])


def plan_reproduction(method: str, source: str | Path, out: str | Path, recipe: str | Path | None = None) -> str:
    """What `reproduce` would do and need, for people; nothing is read but names, nothing is written.

    Raises:
        ConfigError: no such method, or no recipe.
    """
    entry, source, out = published(method), Path(source), Path(out)
    chosen, data = _recipe(entry, recipe), data_set(entry.data)
    missing = data.missing(source)
    kind = kind_of(chosen)
    lines = [
        f"{method}: {entry.paper} (arXiv {entry.arxiv})",
        "reproduced" if entry.reproduced else "not reproduced so far",
        f"1. data: {data.name} ({data.licence}), from {source} into {out}",
    ]
    for one in data.sources:
        found = one.find(source)
        state = "there" if found else "missing" if one.needed else "not there, optional"
        lines.append(f"     {state:<8} {found[0] if found else one.names[0]} ({one.what})")
    if missing:
        lines.append(f"     its owners offer it at {data.offered}")
    lines.append(f"2. recipe: {chosen}, a {kind.name} student, copied to {out / chosen.name}")
    lines += [f"     file {name}: {value}" for name, value in _elsewhere(options_in(chosen)).items()]
    lines.append("3. labels, made once in that folder; the run says which it lacks:")
    lines += [f"     {command}" for command in entry.labels]
    lines.append("4. figures:")
    for figure in entry.figures:
        values = ", ".join(
            f"{name} {'–' if value is None else f'{value:.3f}'}" for name, value in figure.values.items()
        )
        lines.append(f"     {figure.system} on {figure.judged}: {values} ({figure.note})")
    return "\n".join(lines)


def reproduce(
    method: str,
    source: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    partial: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Reproduction:
    """Prepare the data, run the recipe, and put the published figures beside ours. Run again, it goes on.

    Args:
        method: as `published.yaml` names it.
        source: folder of the data set's release.
        out: folder of the prepared data, the recipe's copy and the run; further files that the recipe names (runs of
            other retrievers, a label store) are put there.
        recipe: another recipe than the paper's; its figures say so.
        partial: accept a part of the release; the figures say so.
        quiet: no progress display.
        say: hears what is done.

    Raises:
        ConfigError: no such method, or a recipe that cannot be.
        DataError: files that are missing or malformed, or a release of another size.
        LabelError: labels that the run lacks; it names the command that makes them.
    """
    entry, out = published(method), Path(out)
    chosen = _recipe(entry, recipe)
    say(f"data: {entry.data}")
    done = prepare(data_set(entry.data), source, out, partial=partial, say=say)
    copy = out / chosen.name
    write_text(copy, chosen.read_text(encoding="utf-8"))
    kind = kind_of(copy)
    read = kind.read(copy)
    say(f"recipe: {copy}")
    kind.run(read, quiet=quiet)
    say("figures")
    figures = _Figures(out, Path(read.out))
    rows = tuple(row for figure in entry.figures for row in figures.rows(figure))
    made = Reproduction(method, out, rows, tuple(_remarks(rows, done, chosen, recipe is not None)))
    write_text(out / RESULT, json.dumps(made.to_dict(), indent=2) + "\n")
    return made


def _recipe(entry: Published, given: str | Path | None) -> Path:
    path = recipes_folder() / entry.recipe if given is None else Path(given)
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe", "check the path")
    return path


def _elsewhere(options: dict[str, Any]) -> dict[str, str]:
    """Files that a recipe reads and nothing here makes: runs of other retrievers, a teacher's run."""
    retrievers = options.get("retrievers")
    found = dict(retrievers) if isinstance(retrievers, dict) else {}
    found |= {name: options[name] for name in ("teacher_run", "queries", "words") if name in options}
    return {str(name): str(value) for name, value in found.items() if value != "bm25"}


def _remarks(rows: tuple[Row, ...], done: Prepared, recipe: Path, other: bool) -> list[str]:
    remarks = [f"not the paper's recipe: {recipe}"] if other else []
    for system in dict.fromkeys(row.system for row in rows if row.ours is None):
        remarks.append(f"the run has no {system}: a teacher is measured where every test context has a rewrite")
    return remarks + [f"not the whole release: {text}" for text in done.other]


class _Figures:
    """Our values of published figures, from a finished run."""

    def __init__(self, data: Path, run: Path) -> None:
        self.data, self.run = data, run

    def rows(self, figure: Figure) -> list[Row]:
        """One row a measure."""
        values = getattr(self, f"_{figure.by}")(figure)
        return [Row(figure.system, name, value, values.get(name), figure.note) for name, value in figure.values.items()]

    def _run(self, figure: Figure) -> dict[str, float]:
        path = self.run / "runs" / f"{figure.system}.trec"
        return self._scored(read_run(path), figure) if path.is_file() else {}

    def _rerank(self, figure: Figure) -> dict[str, float]:
        from distillir.search import rerank_run
        from distillir.students import load_reranker

        qrels = read_qrels(self.data / figure.judged)
        asked = [c for c in read_contexts(self.data / figure.contexts) if c.id in qrels]
        found = bm25(self.corpus, [(c.id, c.conversation.question) for c in asked], figure.depth)
        texts = {name: self.corpus[name].contents for scores in found.values() for name in scores}
        run = rerank_run(load_reranker(self.run / "student"), found, asked, texts, figure.depth)
        write_run(self._place(figure), run, tag=figure.system)
        return self._scored(run, figure)

    def _answers(self, figure: Figure) -> dict[str, float]:
        answers = read_answers(self.data / figure.judged)
        asked = [c for c in read_contexts(self.data / figure.contexts) if c.id in answers]
        cutoffs = {name: int(match[1]) for name in figure.values if (match := HITS.fullmatch(name))}
        retriever = open_generative_retriever(self.run)
        hits = retriever.retrieve_batch([c.conversation for c in asked], max(figure.depth, *cutoffs.values()))
        run = {c.id: {hit.id: hit.score for hit in one} for c, one in zip(asked, hits, strict=True)}
        write_run(self._place(figure), run, tag=figure.system)
        texts = {c.id: [hit.text for hit in one] for c, one in zip(asked, hits, strict=True)}
        return {name: hits_at(texts, answers, k) for name, k in cutoffs.items()}

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus of the run."""
        return Corpus.open(self.run / "corpus.arrow")

    def _place(self, figure: Figure) -> Path:
        return self.run / "runs" / f"{figure.system}.{figure.by}.{Path(figure.judged).stem}.trec"

    def _scored(self, run: Run, figure: Figure) -> dict[str, float]:
        qrels = read_qrels(self.data / figure.judged)
        return {name: evaluate(run, qrels, [name]).means[_named(name)] for name in figure.values}


def _named(measure: str) -> str:
    from distillir.evaluation.measures import parse_measure

    return str(parse_measure(measure))
