"""The papers' published figures, beside the recipes of their scale."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from distillir.errors import ConfigError
from distillir.evaluation.measures import parse_measure
from distillir.recipes.method import Strict, explain
from distillir.recipes.yaml_file import read_yaml

FILE = "published.yaml"
HITS = re.compile(r"hits@([1-9]\d*)")


class Figure(Strict):
    """Published values of one system on one set."""

    system: str = Field(description="as the run's table names it")
    by: Literal["run", "rerank", "answers"] = Field("run", description="how our value is found")
    judged: str = Field(description="file of judgements, or of answers, of the prepared data")
    contexts: str = Field("test.jsonl", description="file of contexts of the prepared data")
    depth: int = Field(100, ge=1, description="candidates that are ordered anew")
    note: str = Field("", description="whose figure it is")
    values: dict[str, float | None] = Field(min_length=1, description="measure → value; null = not listed")

    @model_validator(mode="after")
    def _measures(self) -> Figure:
        for name in self.values:
            if self.by == "answers":
                if not HITS.fullmatch(name):
                    raise ValueError(f"{name} is no measure of answers, such as hits@5")
            else:
                parse_measure(name)
        return self


class Published(Strict):
    """A paper, and what it takes to ask for its figures again."""

    paper: str = Field(description="title and place")
    arxiv: str = Field(description="number")
    recipe: str = Field(description="recipe file, beside the figures")
    data: str = Field(description="data set, as `distillir data list` names it")
    reproduced: bool = Field(False, description="whether it has been run on the whole data set")
    labels: list[str] = Field([], description="commands that make the teachers' labels")
    figures: list[Figure] = Field(min_length=1)


def recipes_folder() -> Path:
    """Folder of the figures, the recipes at the papers' scale in `paper`: of the installed package, or of the source.

    Raises:
        ConfigError: neither has it.
    """
    for folder in (Path(str(files("distillir.recipes"))), Path(__file__).parents[3] / "recipes"):
        if (folder / FILE).is_file():
            return folder
    raise ConfigError(f"no folder of recipes with {FILE}", "install the package again")


def read_published(path: str | Path | None = None) -> dict[str, Published]:
    """Method → what was published of it.

    Raises:
        ConfigError: unreadable, or something unknown in it. EvaluationError: an unknown measure.
    """
    path = recipes_folder() / FILE if path is None else Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: no methods in it", "compare with the file of this package")
    try:
        return {str(name): Published.model_validate(one) for name, one in content.items()}
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}", "see distillir.recipes.Published for the options") from error


def published(method: str) -> Published:
    """What was published of a method.

    Raises:
        ConfigError: no such method.
    """
    known = read_published()
    if method not in known:
        raise ConfigError(f"no method {method!r}", f"use one of {', '.join(known)}")
    return known[method]
