"""A method: what a student learns from which teachers and candidates. Presets are YAML files of it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distillir.errors import ConfigError

ScoreRuleName = Literal["true", "rank_11"]
Number = float | int | str | bool


class Strict(BaseModel):
    """Unknown keys are refused: a misspelt option that is silently ignored costs a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(Strict):
    """How a sparse student is distilled."""

    teachers: dict[str, float] = Field({"human": 1.0}, description="teacher → weight; shared among those a context has")
    objective: dict[str, dict[str, Number]] = Field(
        {"kld": {"weight": 1.0, "tau": 1.0}}, description="objective → its weight and parameters"
    )
    pool: Literal["teacher_ranks", "collection"] = Field(
        "teacher_ranks", description="candidates: the teacher's ranking, or every document of the collection"
    )
    draw: dict[str, dict[str, Any]] = Field(
        {"bands": {"bands": [[4, 1, 10], [5, 11, 100], [8, 101, 960]]}}, description="one draw → its parameters"
    )
    depth: int = Field(1000, ge=1, description="documents the teacher ranks a context")
    gold: Literal["one", "all", "none"] = Field("one", description="golds listed a context and epoch")
    pseudo_gold: bool = Field(False, description="take the teacher's first document as gold where none is known")
    in_batch: bool = Field(True, description="share negatives between the contexts of a batch")
    penalties: dict[str, float] = Field({}, description="penalty on the query's weights → λ")
    score_rule: ScoreRuleName = Field(
        "true", description="teacher score of a gold: its true score, or rank 11's outside the band (as published)"
    )


def preset(name: str) -> Method:
    """A preset of this package by name ("disco", "student", "mse"), or a YAML file by path.

    Raises:
        ConfigError: no such preset or file, or one with unknown or contradictory options.
    """
    path = Path(name)
    source = path if path.suffix in (".yaml", ".yml") else files("distillir.recipes") / "presets" / f"{name}.yaml"
    try:
        return Method.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"no preset or file {name!r}", f"use one of {', '.join(presets())}, or a path") from error
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{name}: {explain(error)}", "see distillir.recipes.method.Method for the options") from error


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    folder = files("distillir.recipes") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def explain(error: Exception) -> str:
    """A validation error in one line: option, complaint."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
    return str(error).splitlines()[0]
