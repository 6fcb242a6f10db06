"""A method: what a student learns from which teachers and candidates. Presets are YAML files of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distillir.errors import ConfigError
from distillir.recipes.yaml_file import read_yaml

ScoreRuleName = Literal["true", "rank_11"]
Number = float | int | str | bool
WHOLE = "collection"
UNTRAINED = "untrained"
"""As a teacher: what the student makes of the conversation before it is trained. The mean of its vector and a
rewrite's ranks better than either."""
TURNS = (1, 2, 4, 6)  # where `by_turn` begins a bucket: first turn, early, middle and late ones


class Strict(BaseModel):
    """Unknown keys are refused: a misspelt option that is silently ignored costs a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PenaltyWeight(Strict):
    """λ of a penalty over a run."""

    weight: float
    schedule: Literal["constant", "linear", "quadratic"] = "constant"
    ramp: float | None = Field(None, description="share of all steps over which the weight rises; by default a third")


class LinearWeights(Strict):
    """Weights of objectives that change over a run, in a straight line from their own."""

    schedule: Literal["linear"] = "linear"
    to: dict[str, float] = Field(description="objective → its last weight; one that is not named keeps its own")
    over: float = Field(1.0, description="share of all steps the change takes")


class SparsityTarget(Strict):
    """A count of the query's dimensions to hold, in place of a weight to try out."""

    active_dims: float | dict[int, float] | None = Field(
        None, description="non-zero dimensions a query: one number, or turn from which it holds → number"
    )
    flops: float | dict[int, float] | None = Field(
        None, description="multiplications a query and candidate document, likewise"
    )
    by_turn: bool = Field(False, description="hold one number for first, early and late turns each, not on average")
    penalty: str | None = Field(None, description="what presses; by default l1, or expected_flops")
    gain: float = Field(0.05, description="largest change of ln λ in a step")
    lead: float = Field(5.0, description="steps that the count is looked ahead, against overshooting")
    start: float = Field(-7.0, description="ln λ before the first step")

    @model_validator(mode="after")
    def _one_target(self) -> SparsityTarget:
        if (self.active_dims is None) == (self.flops is None):
            raise ValueError("give either active_dims or flops")
        if self.by_turn and (isinstance(self.flops, dict) or isinstance(self.active_dims, dict)):
            raise ValueError("by_turn: the target already names turns")
        return self

    @property
    def target(self) -> float | dict[int, float]:
        """What is held, by turn where turns are told apart."""
        given = self.flops if self.active_dims is None else self.active_dims
        assert given is not None
        return dict.fromkeys(TURNS, given) if self.by_turn and not isinstance(given, dict) else given


class Method(Strict):
    """How a sparse student is distilled."""

    teachers: dict[str, float] = Field({"human": 1.0}, description="teacher → weight; shared among those a context has")
    fusion: Literal["linear", "fitted", "confidence", "max", "min"] = Field(
        "linear",
        description="several teachers by weight, by weights fitted on contexts with gold, by weight and how far the "
        "teachers agree on a context, or by the best or worst score of a document",
    )
    objective: dict[str, dict[str, Number]] = Field(
        {"kld": {"weight": 1.0, "tau": 1.0}}, description="objective → its weight and parameters"
    )
    mix: Literal["fixed", "balanced"] | LinearWeights = Field(
        "fixed",
        description="weights of the objectives: fixed; balanced, so that their gradients have this proportion; or "
        "those they go to",
    )
    pool: Literal["teacher_ranks", "collection"] = Field(
        "teacher_ranks", description="candidates: the teacher's ranking, or every document of the collection"
    )
    draw: dict[str, dict[str, Any]] = Field(
        {"bands": {"bands": [[4, 1, 10], [5, 11, 100], [8, 101, 960]]}},
        description="one draw → its parameters; of the collection, all",
    )
    depth: int = Field(1000, ge=1, description="documents the teacher ranks a context")
    gold: Literal["one", "all", "none"] = Field("one", description="golds listed a context and epoch")
    pseudo_gold: bool = Field(False, description="take the teacher's first document as gold where none is known")
    in_batch: bool = Field(True, description="share negatives between the contexts of a batch")
    penalties: dict[str, float | PenaltyWeight] = Field(
        {}, description="penalty on the query's weights → λ, or its weight, schedule and ramp"
    )
    sparsity: SparsityTarget | None = Field(None, description="active dimensions or FLOPS to train for")
    score_rule: ScoreRuleName = Field(
        "true", description="teacher score of a gold: its true score, or rank 11's outside the band (as published)"
    )

    @property
    def writers(self) -> dict[str, float]:
        """Teachers of rewrites, with their weights: all but the untrained student."""
        return {name: weight for name, weight in self.teachers.items() if name != UNTRAINED}

    def settled(self, weights: Mapping[str, float]) -> Method:
        """The method with weights that were fitted; without any to fit, as it is."""
        if self.fusion != "fitted" or not weights:
            return self
        return self.model_copy(update={"teachers": dict(weights), "fusion": "linear"})

    @model_validator(mode="before")
    @classmethod
    def _all_of_the_collection(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("pool") == WHOLE:
            return {"draw": {"all": {}}, **given}
        return given

    @model_validator(mode="after")
    def _no_contradiction(self) -> Method:
        weights = self.teachers.values()
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
            raise ValueError("teachers: give weights of 0 or more, one of them above 0")
        if not any(self.writers.values()):
            raise ValueError("teachers: the untrained student alone teaches nothing, name a teacher of rewrites")
        for name, given in self.penalties.items():
            weight = given.weight if isinstance(given, PenaltyWeight) else given
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"penalties.{name}: {weight} is no weight, give 0 or more")
        if self.pool == WHOLE:
            if list(self.draw) != ["all"]:
                raise ValueError(f"draw: pool 'collection' takes all documents, so {', '.join(self.draw)} cannot be")
            if self.fusion in ("max", "min"):
                raise ValueError(f"fusion: {self.fusion!r} is of listed candidates, and pool 'collection' lists none")
            if self.score_rule != "true":
                raise ValueError(
                    f"score_rule: {self.score_rule!r} changes listed candidates, and the collection is none"
                )
        return self


def preset(name: str) -> Method:
    """A preset of this package by name ("disco", "student", "mse", "collection"), or a YAML file by path.

    Raises:
        ConfigError: no such preset or file, or one with unknown or contradictory options.
    """
    if is_path(name):
        content = read_yaml(Path(name))
    elif name in presets():
        content = read_yaml(files("distillir.recipes") / "presets" / f"{name}.yaml")
    else:
        raise ConfigError(f"no preset {name!r}", f"use one of {', '.join(presets())}, or the path of a .yaml file")
    try:
        return Method.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}", "see distillir.recipes.Method for the options") from error


def is_path(name: str) -> bool:
    """Whether a method is named by the path of its file."""
    return Path(name).suffix in (".yaml", ".yml")


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    folder = files("distillir.recipes") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def explain(error: ValidationError) -> str:
    """A validation error in one line: option, complaint."""
    found = []
    for one in error.errors():
        message = one["msg"].removeprefix("Value error, ")
        place = ".".join(map(str, one["loc"]))
        found.append(f"{place}: {message}" if place else message)
    return "; ".join(dict.fromkeys(found))
