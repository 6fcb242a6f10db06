"""The recipe file of a generative student; `student: generative` tells it from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from distillir.data import Context
from distillir.data.views import VIEWS, View
from distillir.errors import ConfigError
from distillir.recipes.assemble import typed
from distillir.recipes.labels_given import check_labels, labels_given
from distillir.recipes.method import Strict, explain, is_path
from distillir.recipes.recipe import options_in, recipe_of
from distillir.recipes.rerank_recipe import RerankStage
from distillir.recipes.yaml_file import read_yaml
from distillir.rendering import RenderSettings
from distillir.students import GenerativeSettings
from distillir.training import TrainSettings

OF_LISTS = ("draw", "gold", "lists", "most_keys")


class GenerativeStage(RerankStage):
    """One of the two trainings of a generative student; `draw`, `gold`, `lists` and `most_keys` are of the second."""

    strangers: Literal[0] = Field(0, description="none: it learns from passages that it finds itself")
    lists: int = Field(1, ge=1, description="lists a context and epoch, each drawn anew")
    spans: int = Field(1, ge=1, description="spans of a passage to write a context and epoch")
    temperature: float = Field(1.0, gt=0, description="of the draw of spans by their overlap with the query")
    most_keys: int = Field(64, ge=1, description="keys whose likelihood is computed anew a list")

    @property
    def scores(self) -> bool:
        """Whether it reads scores of passages, and not the likelihood of golds alone."""
        return "scores" in self.build_objective().reads_output

    @property
    def writes(self) -> bool:
        """Whether it reads the likelihood of golds."""
        return "token_loss" in self.build_objective().reads_output

    @property
    def reads_gold(self) -> bool:
        """Whether a list needs a gold."""
        return self.gold != "none" or "gold" in self.build_objective().reads_targets


class GenerativeMethod(Strict):
    """How a generative student is distilled."""

    learn: GenerativeStage = Field(description="the first training: writing identifiers of golds")
    rank: GenerativeStage | None = Field(None, description="the second one: ordering the passages it finds itself")
    teacher: str = Field("listwise", description="teacher whose labels of those passages are in the store")
    kind: Literal["order", "scores"] = Field("order", description="what its labels are")
    rank_to_score: str | None = Field(None, description="rule that makes scores of an order")
    depth: int = Field(200, ge=2, description="passages of its own list")
    least: int = Field(1, ge=1, description="negatives that a list must have to be learnt from")


class GenerativeRecipe(Strict):
    """Everything a run of the recipe depends on; saved with the run."""

    student: Literal["generative"] = Field(description="what is trained")
    out: Path = Field(description="run folder")
    corpus: Path = Field(description="documents: JSONL, BEIR or Parquet")
    train: Path | None = Field(None, description="contexts to learn from")
    crops: int = Field(0, ge=0, description="sentences cropped from documents to learn from")
    questions: str = Field("", description="teacher of the store whose questions of documents to learn from")
    dev: Path | None = Field(None, description="contexts to select by")
    test: Path | None = Field(None, description="contexts to report on; never trained or selected on")
    labels: Path | None = Field(None, description="label store; by default in the run folder")
    teacher_run: Path | None = Field(None, description="run that teaches, in place of labels of the store")
    model: str = Field("smollm2-135m", description="start: packaged name, folder, model id or .gguf file")
    method: GenerativeMethod | str = Field("rank_gap", description="preset, path of a method's file, or its options")
    views: list[str] = Field(["title", "body"], description="kinds of identifiers: title, body, question")
    max_length: int = Field(96, description="tokens of a conversation")
    answers: bool = Field(True, description="render the assistant's turns")
    beams: int = Field(15, ge=1, description="width of the search")
    smoothing: float = Field(5.0, gt=0, description="of how common a key is; smaller where there are few documents")
    training: dict[str, Any] = Field({}, description="options of TrainSettings")

    def splits(self) -> dict[str, Path]:
        """Files of contexts that the recipe names."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: path for name, path in given.items() if path is not None}

    def chosen_views(self) -> tuple[View, ...]:
        """The views it names.

        Raises:
            ConfigError: an unknown one, or pseudo-queries without a teacher that wrote them.
        """
        if unknown := [name for name in self.views if name not in VIEWS]:
            raise ConfigError(f"unknown view {unknown[0]!r}", f"use {', '.join(VIEWS)}")
        if "question" in self.views and not self.questions:
            raise ConfigError("the view 'question' has no questions", "name the teacher that wrote them: questions")
        return tuple(VIEWS[name] for name in self.views)

    def student_settings(self) -> GenerativeSettings:
        """Prompt and views."""
        return GenerativeSettings(RenderSettings(max_length=self.max_length, answers=self.answers), self.chosen_views())

    def learnt_from(self, stage: GenerativeStage, contexts: Sequence[Context]) -> list[Context]:
        """Those of all contexts that a stage reads."""
        return [c for c in contexts if stage.reads(c, turns=self.train is not None)]

    def train_settings(self, stage: GenerativeStage) -> TrainSettings:
        """Of one stage."""
        return TrainSettings(**typed("training", TrainSettings, {**stage.training, **self.training}))

    def chosen_method(self) -> GenerativeMethod:
        """The method, named or spelled out."""
        return generative_preset(self.method) if isinstance(self.method, str) else self.method

    def check(self) -> None:
        """Refuse now what would be refused hours later.

        Raises:
            ConfigError, ObjectiveError: naming the option.
        """
        self.student_settings()
        method = self.chosen_method()
        given = labels_given(method.kind, method.rank_to_score)
        if method.learn.scores:
            raise ConfigError(
                f"learn: {', '.join(method.learn.objective)} reads lists, and nothing was written yet",
                "learn by likelihood, and put that objective under rank",
            )
        default = GenerativeStage(objective=method.learn.objective)
        if unread := [name for name in OF_LISTS if getattr(method.learn, name) != getattr(default, name)]:
            raise ConfigError(f"learn: {', '.join(unread)}: the first training reads no lists", "put it under rank")
        if method.rank is not None and not method.rank.scores:
            raise ConfigError(
                f"rank: {', '.join(method.rank.objective)} reads no list", "name an objective of lists, or leave it out"
            )
        for stage in (method.learn, method.rank):
            if stage is None:
                continue
            self.train_settings(stage)
            stage.build_draw()
            if stage.queries == "crops" and not self.crops:
                raise ConfigError("a stage learns from cropped sentences, and there are none", "give crops")
            if lacking := sorted(stage.build_objective().reads_output - {"scores", "token_loss"}):
                raise ConfigError(
                    f"objective {', '.join(stage.objective)} reads {', '.join(lacking)}: this student has none",
                    "choose another objective",
                )
            check_labels(stage.build_objective(), stage.objective, method.kind, given)
        if not (self.train or self.crops or self.questions):
            raise ConfigError("the recipe names nothing to learn from", "give train, crops or questions")

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, presets and defaults spelled out."""
        method = self.chosen_method()
        given = [asdict(self.train_settings(one)) for one in (method.learn, method.rank) if one is not None]
        return self.model_dump(mode="json") | {"method": method.model_dump(mode="json"), "stages": given}


def generative_preset(name: str) -> GenerativeMethod:
    """A preset of this package, "dgr", "rank_gap", "hard" or "learn", or a YAML file by path.

    Raises:
        ConfigError: no such preset or file, or one with unknown options.
    """
    folder = files("distillir.recipes") / "presets" / "generative"
    known = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    if not is_path(name) and name not in known:
        raise ConfigError(f"no preset {name!r}", f"use one of {', '.join(known)}, or the path of a .yaml file")
    content = read_yaml(Path(name) if is_path(name) else folder / f"{name}.yaml")
    try:
        return GenerativeMethod.model_validate(content)
    except ValidationError as error:
        raise ConfigError(
            f"{name}: {explain(error)}", "see distillir.recipes.GenerativeMethod for the options"
        ) from error


def is_generative(path: str | Path) -> bool:
    """Whether a recipe file is of a generative student."""
    content = read_yaml(Path(path))
    return isinstance(content, dict) and content.get("student") == "generative"


def read_generative_recipe(path: str | Path) -> GenerativeRecipe:
    """Read and check a recipe file; its relative paths are relative to it.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of the wrong kind.
    """
    return recipe_of(GenerativeRecipe, options_in(path), path)
