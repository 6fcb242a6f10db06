"""The recipe file of a response student; `student: response` tells it from others."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from distillir.data import ResponseRules, read_words
from distillir.errors import ConfigError
from distillir.objectives import OBJECTIVES, WeightedSum
from distillir.objectives.contract import Objective
from distillir.recipes.assemble import check_writes_nothing, objective_terms, typed
from distillir.recipes.method import Number, Strict, explain, is_path
from distillir.recipes.recipe import options_in, recipe_of
from distillir.recipes.yaml_file import read_yaml
from distillir.rendering import RenderSettings
from distillir.students import DenseSettings, resolve
from distillir.training import TrainSettings

LR = 5e-5
GIVEN = frozenset({"gold", "scores"})


class ResponseMethod(Strict):
    """How a response student is distilled."""

    responders: list[str] = Field([], description="teachers of the store whose responses are positives too")
    per_context: int | None = Field(None, ge=0, description="responses of each teacher a context gets at most")
    teacher: str = Field("", description="teacher of the store whose scores of own candidates are soft targets")
    objective: dict[str, dict[str, Number]] = Field(description="objective → its weight and parameters")
    negatives: int = Field(512, ge=1, description="random responses of the set that a batch shares")
    own: int = Field(10, ge=1, description="own candidates of a context in a step at most")

    def build_objective(self) -> Objective:
        """The weighted sum it names."""
        summed: Objective = WeightedSum(objective_terms(self.objective, OBJECTIVES))
        return summed

    @property
    def taught(self) -> bool:
        """Whether it reads a teacher's scores."""
        return "scores" in self.build_objective().reads_targets


class ResponseRecipe(Strict):
    """Everything a run of the recipe depends on; saved with the run."""

    student: Literal["response"] = Field(description="what is trained")
    out: Path = Field(description="run folder")
    responses: Path = Field(description="the fixed set: JSON lines of _id and text")
    train: Path = Field(description="contexts to learn from, with the ids of their responses as `relevant`")
    dev: Path = Field(description="contexts to select and to calibrate by")
    test: Path | None = Field(None, description="contexts to report on; never trained or selected on")
    labels: Path | None = Field(None, description="label store; by default in the run folder")
    model: str = Field("all-minilm-l6-v2", description="start: packaged name, folder or model id")
    method: ResponseMethod | str = Field("g2r", description="preset, path of a method's file, or its options")
    towers: Literal[1, 2] = Field(1, description="one tower for contexts and responses, or one each")
    scale: float | None = Field(None, gt=0, description="of dot products in training; by default 20, of cosines")
    gate: bool = Field(False, description="turn gate of the contexts")
    max_length: int = Field(128, description="tokens of a conversation")
    response_length: int = Field(64, ge=4, description="tokens of a response")
    answers: bool = Field(True, description="render the assistant's turns")
    shortest: int = Field(1, ge=1, description="characters of a response at least")
    longest: int = Field(400, ge=1, description="characters of a response at most")
    words: Path | None = Field(None, description="word list: responses with one of them are left out")
    copied: int = Field(20, ge=0, description="characters from which on a generated piece of its context is a copy")
    risk: float | None = Field(
        None, ge=0, le=1, description="share of wrong answers on dev up to which it answers; by default it always does"
    )
    chunk_tokens: int = Field(16384, ge=1, description="tokens of responses whose activations are held at a time")
    training: dict[str, Any] = Field({}, description="options of TrainSettings")

    def splits(self) -> dict[str, Path]:
        """Files of contexts that the recipe names."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: path for name, path in given.items() if path is not None}

    def student_settings(self) -> DenseSettings:
        """Of the tower of contexts."""
        return DenseSettings.of(
            resolve(self.model),
            render=RenderSettings(max_length=self.max_length, answers=self.answers),
            gate=self.gate,
            document_length=self.response_length,
        )

    def rules(self) -> ResponseRules:
        """What is left out of the set."""
        words = read_words(self.words) if self.words is not None else ()
        return ResponseRules(self.shortest, self.longest, words, self.copied)

    def train_settings(self) -> TrainSettings:
        """Of the loop."""
        return TrainSettings(**typed("training", TrainSettings, {"lr": LR, **self.training}))

    def chosen_method(self) -> ResponseMethod:
        """The method, named or spelled out."""
        return response_preset(self.method) if isinstance(self.method, str) else self.method

    def check(self) -> None:
        """Refuse now what would be refused hours later.

        Raises:
            ConfigError, ObjectiveError: naming the option. DataError: a word list that cannot be read.
        """
        self.student_settings()
        self.train_settings()
        self.rules()
        method = self.chosen_method()
        objective = method.build_objective()
        check_writes_nothing(objective)
        if missing := sorted(objective.reads_targets - GIVEN):
            raise ConfigError(f"objective reads {', '.join(missing)}, which responses have not", "choose another one")
        if method.taught and not method.teacher:
            raise ConfigError("the objective reads a teacher's scores and the method names none", "give teacher")

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, presets and defaults spelled out."""
        method = self.chosen_method().model_dump(mode="json")
        return self.model_dump(mode="json") | {"method": method, "training": asdict(self.train_settings())}


def response_preset(name: str) -> ResponseMethod:
    """A preset of this package, "pairs", "g2r_data" or "g2r", or a YAML file by path.

    Raises:
        ConfigError: no such preset or file, or one with unknown options.
    """
    folder = files("distillir.recipes") / "presets" / "response"
    known = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    if not is_path(name) and name not in known:
        raise ConfigError(f"no preset {name!r}", f"use one of {', '.join(known)}, or the path of a .yaml file")
    content = read_yaml(Path(name) if is_path(name) else folder / f"{name}.yaml")
    try:
        return ResponseMethod.model_validate(content)
    except ValidationError as error:
        raise ConfigError(
            f"{name}: {explain(error)}", "see distillir.recipes.ResponseMethod for the options"
        ) from error


def read_response_recipe(path: str | Path) -> ResponseRecipe:
    """Read and check a recipe file; its relative paths are relative to it.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of the wrong kind.
    """
    return recipe_of(ResponseRecipe, options_in(path), path)
