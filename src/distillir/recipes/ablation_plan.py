"""What an ablation varies: factors, their levels, and the recipes that follow.

factors:
temperature: {option: method.objective.kld.tau, levels: [0.5, 1, 2]}     # one option
gold:                                                                    # several at once, by name
known: {method.gold: one}
assumed: {method.gold: one, method.pseudo_gold: true}
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from distillir.errors import ConfigError
from distillir.recipes.method import Method, Strict, explain
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.yaml_file import read_yaml

BASE = "baseline"
VARIED = ("method", "training", "gate", "turn_embeddings", "max_length", "answers")
"""Options that an ablation may vary: with any other, cells would not share documents, vectors and judgements."""


class Levels(Strict):
    """One option and the values it takes."""

    option: str
    levels: list[Any] = Field(min_length=1)


class Factors(Strict):
    """What is varied. Each factor is one option with its levels, or named levels of several options."""

    factors: dict[str, Levels | dict[str, dict[str, Any]]] = Field(min_length=1)

    def changes(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Factor → level → option path → value."""
        return {
            name: {_label(level): {factor.option: level} for level in factor.levels}
            if isinstance(factor, Levels)
            else factor
            for name, factor in self.factors.items()
        }

    def only(self, names: Sequence[str]) -> Factors:
        """Some of the factors; all of them where none is named.

        Raises:
            ConfigError: a factor that there is not.
        """
        if unknown := [name for name in names if name not in self.factors]:
            raise ConfigError(f"no factor {unknown[0]!r}", f"there are {', '.join(self.factors)}")
        return Factors(factors={name: self.factors[name] for name in names}) if names else self


@dataclass(frozen=True)
class Cell:
    """One recipe of an ablation.

    Attributes:
        name: unique; "baseline" for the recipe as it is.
        levels: factor → level of each factor it sets.
        recipe: the recipe under them.
    """

    name: str
    levels: Mapping[str, str]
    recipe: SparseRecipe


def read_factors(path: str | Path | None) -> Factors:
    """Read a file of factors; None = those of the KLD follow-up (arXiv 2606.04650), which come with the package.

    Raises:
        ConfigError: unreadable, or no factors.
    """
    content = read_yaml(Path(path)) if path else read_yaml(files("distillir.recipes") / "presets/ablations/kld.yaml")
    try:
        return Factors.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}", "compare with docs/ablation.md") from error


def cells_of(recipe: SparseRecipe, factors: Factors, *, grid: bool = False) -> list[Cell]:
    """The baseline and every cell: one factor at a time, or all combinations. Each is checked.

    Raises:
        ConfigError, ObjectiveError: an option that cannot be varied or has no such value, naming the cell.
    """
    varied = factors.changes()
    if grid:
        chosen: list[dict[str, str]] = [
            dict(zip(varied, levels, strict=True)) for levels in itertools.product(*varied.values())
        ]
    else:
        chosen = [{factor: level} for factor, levels in varied.items() for level in levels]
    cells = [Cell(BASE, {}, changed(recipe, {}))]
    for levels in chosen:
        name = ", ".join(f"{factor} {level}" for factor, level in levels.items())
        changes: dict[str, Any] = {}
        for factor, level in levels.items():
            changes |= varied[factor][level]
        try:
            cells.append(Cell(name, levels, changed(recipe, changes)))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.cause}", error.cure) from error
    return cells


def changed(recipe: SparseRecipe, changes: Mapping[str, Any]) -> SparseRecipe:
    """The recipe with some options set by their dotted paths; None removes an option.

    Selection on dev is switched off: a cell that kept its best step would be measured on what it was selected by.

    Raises:
        ConfigError: a path that cannot be varied or leads nowhere, or a value that cannot be.
    """
    content: dict[str, Any] = recipe.model_dump() | {"method": recipe.chosen_method().model_dump()}
    for path, value in changes.items():
        first, *rest = path.split(".")
        if first not in VARIED:
            raise ConfigError(f"{path!r} cannot be varied", f"options that can: {', '.join(VARIED)} and those in them")
        _set(content, [first, *rest], value)
    content["training"] = {**content["training"], "keep_best": False, "patience": 0}
    try:
        content["method"] = Method.model_validate(content["method"])
        made = type(recipe).model_validate(content)
    except ValidationError as error:
        raise ConfigError(explain(error), "correct the level") from error
    made.check()
    return made


def runs_of(cells: Sequence[Cell], parts: int, seeds: Sequence[int]) -> int:
    """Trainings that all cells take; cells of equal recipes share theirs."""
    distinct = {str(cell.recipe.resolved()) for cell in cells}
    return len(distinct) * parts * len(seeds)


def _set(content: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *outer, last = path
    for depth, name in enumerate(outer):
        inner = content.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(path[: depth + 1])} has no options", "give the path of an option")
        content[name] = content = dict(inner)
    if value is None:
        content.pop(last, None)
    else:
        content[last] = value


def _label(level: Any) -> str:
    if isinstance(level, Mapping):
        return ", ".join(f"{name} {_label(value)}" for name, value in level.items())
    return f"{level:g}" if isinstance(level, float) else str(level)
