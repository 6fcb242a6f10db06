"""What a recipe would find: read and checked, its files looked for, before anything is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distillir.data import Context, read_contexts
from distillir.data.files import read_lines
from distillir.errors import ConfigError, ModelError
from distillir.recipes.kinds import kind_of
from distillir.recipes.recipe import options_in, unchecked_recipe
from distillir.recipes.workshop import check_disjoint
from distillir.students.packaged import PACKAGED, resolve
from distillir.teachers.packaged_llm import PACKAGED_LLMS

WHOLE = 1 << 28  # bytes of a contexts file up to which it is read; a larger one is looked into
SAMPLE = 1000
ACTIVE, WEIGHT = 120, 8  # weights of a document's sparse vector, and bytes of each: what SPLADE makes of a passage
LATER = {
    "teacher_run": "the first run leaves what the teacher is to order",
    "labels": "made by `distillir label`, or by the run",
}


@dataclass(frozen=True)
class RecipeCheck:
    """What was found.

    Attributes:
        path: the recipe. kind: its kind of student.
        found: what is there. missing: what the run cannot begin without. later: what is made on its way.
        estimates: sizes, roughly.
    """

    path: Path
    kind: str
    found: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    estimates: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether a run can begin."""
        return not self.missing

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "path": str(self.path), "ready": self.ready}

    def text(self) -> str:
        """For people."""
        parts = [("there", self.found), ("missing", self.missing), ("later", self.later), ("about", self.estimates)]
        rows = [f"{what:<9} {line}" for what, lines in parts for line in lines]
        verdict = "it can run" if self.ready else f"it cannot run yet: {len(self.missing)} missing"
        return "\n".join([f"{self.path}: a recipe of a {self.kind} student, {verdict}", *rows])


def check_recipe(path: str | Path) -> RecipeCheck:
    """Read a recipe of any kind and look for its files.

    Raises:
        ConfigError, ObjectiveError: an option that cannot be, or splits that share a conversation.
        DataError: contexts that cannot be read.
    """
    path = Path(path)
    kind = kind_of(path)
    done = RecipeCheck(path, kind.name)
    recipe: Any = unchecked_recipe(kind.recipe, options_in(path), path)
    _options(recipe, _model(recipe.model, done))
    contexts: dict[str, list[Context]] = {}
    for name, value in recipe:
        if isinstance(value, Path) and name != "out":
            if value.exists():
                done.found.append(f"{name}: {value}{_size(name, value, contexts)}")
            elif name in LATER:
                done.later.append(f"{name}: {value}, {LATER[name]}")
            else:
                done.missing.append(f"{name}: {value}")
    for name, source in getattr(recipe, "retrievers", {}).items():
        if source != "bm25" and not (path.parent / source).exists():
            done.later.append(f"retrievers: {name}: {path.parent / source}, of the queries that the first run writes")
    check_disjoint(contexts)
    _estimate(kind.name, recipe.corpus if hasattr(recipe, "corpus") else recipe.responses, done)
    return done


def _model(model: str, done: RecipeCheck) -> bool:
    """Note where the start checkpoint is; whether it can be looked into here and now."""
    if model in PACKAGED:
        try:
            done.found.append(f"model: {model}, {resolve(model)}")
        except ModelError as error:
            done.missing.append(f"model: {error}")
            return False
        return True
    if model in PACKAGED_LLMS or Path(model).exists():
        done.found.append(f"model: {model}")
        return True
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = isinstance(try_to_load_from_cache(model, "config.json"), str)
    except ValueError as error:  # huggingface_hub's, of what can be no model id
        raise ConfigError(f"model: {model!r} is neither a folder nor a model id", "check the name") from error
    if cached:
        done.found.append(f"model: {model}, in the hub's cache")
    else:
        done.later.append(f"model: {model}, to be fetched from the hub")
    return cached


def _options(recipe: Any, here: bool) -> None:
    """Check the options; of a model that is not here, they are those that its kind has by default."""
    if here:
        recipe.check()
        return
    with TemporaryDirectory() as nothing:
        recipe.model_copy(update={"model": nothing}).check()


def _size(name: str, path: Path, contexts: dict[str, list[Context]]) -> str:
    """What is in a file of contexts, which is read; how large another is."""
    if path.is_dir():
        return ", a folder"
    size = path.stat().st_size
    if name not in ("train", "dev", "test"):
        return f", {size / 1e6:,.1f} MB"
    if size > WHOLE:
        return f", about {_rows(path):,} contexts"
    found = contexts[name] = read_contexts(path)
    rewritten, judged = sum(bool(c.rewrites) for c in found), sum(bool(c.relevant) for c in found)
    return f", {len(found):,} contexts, {rewritten:,} with a rewrite, {judged:,} with relevant documents"


def _rows(path: Path) -> int:
    """Lines of a file, from the length of its first ones."""
    sizes = [len(line.encode()) + 1 for _, line in islice(read_lines(path), SAMPLE)]
    return len(sizes) if len(sizes) < SAMPLE else round(path.stat().st_size * len(sizes) / sum(sizes))


def _estimate(kind: str, corpus: Path, done: RecipeCheck) -> None:
    if not corpus.is_file() or corpus.suffix != ".jsonl":
        return
    rows = _rows(corpus)
    done.estimates.append(f"{rows:,} documents, {corpus.stat().st_size / 1e9:,.2f} GB")
    if kind == "sparse":
        done.estimates.append(f"{rows * ACTIVE * WEIGHT / 1e9:,.2f} GB of vectors, and an index beside them")
