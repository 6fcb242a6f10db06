"""The recipe file of a reranker; `student: reranker` tells it from others."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from distillir.data import Context
from distillir.data.queries import CROP, GIVEN, WRITTEN
from distillir.errors import ConfigError
from distillir.objectives import OBJECTIVES, WeightedSum
from distillir.objectives.contract import Objective
from distillir.recipes.assemble import build_draw, check_writes_nothing, objective_terms, typed
from distillir.recipes.labels_given import check_labels, labels_given
from distillir.recipes.method import Method, Number, Strict, explain, is_path
from distillir.recipes.recipe import options_in, recipe_of
from distillir.recipes.yaml_file import read_yaml
from distillir.rendering import RenderSettings
from distillir.sampling.draw import Draw
from distillir.sampling.merge import MergeRule
from distillir.students import LanguageRerankerSettings, RerankerSettings
from distillir.students.reranker_language import Score
from distillir.training import TrainSettings

OF_TEACHER = frozenset({"order", "scores"})


class RerankStage(Strict):
    """One training of several that follow each other on the same weights."""

    objective: dict[str, dict[str, Number]] = Field(description="objective → its weight and parameters")
    draw: dict[str, dict[str, Any]] = Field({"all": {}}, description="one draw → its parameters")
    gold: Literal["one", "all", "none"] = Field("none", description="golds listed a context and epoch")
    queries: Literal["all", "crops", "turns"] = Field(
        "all", description="what it learns from: all queries, cropped sentences, or turns of train where there are any"
    )
    strangers: int = Field(
        0, ge=0, description="random passages in place of candidates; for objectives that read golds"
    )
    training: dict[str, Any] = Field({}, description="options of TrainSettings, over those of the recipe")

    def build_objective(self) -> Objective:
        """The weighted sum it names."""
        summed: Objective = WeightedSum(objective_terms(self.objective, OBJECTIVES))
        return summed

    def build_draw(self) -> Draw:
        """The one draw it names."""
        return build_draw(Method.model_validate({"draw": self.draw}))

    def reads(self, context: Context, *, turns: bool) -> bool:
        """Whether it learns from a context; `turns`: whether the recipe has turns of conversations."""
        if self.queries == "crops":
            return context.source == CROP
        return not (self.queries == "turns" and turns) or context.source not in (CROP, GIVEN, WRITTEN)

    @property
    def taught(self) -> bool:
        """Whether it reads a teacher's labels."""
        return bool(self.build_objective().reads_targets & OF_TEACHER)


class RerankMethod(Strict):
    """How a reranker is distilled."""

    teacher: str = Field("listwise", description="teacher whose labels of candidates are in the store")
    kind: Literal["order", "scores"] = Field("order", description="what its labels are")
    rank_to_score: str | None = Field(None, description="rule that makes scores of an order")
    merge: MergeRule = Field("round_robin", description="how the retrievers' candidates are merged")
    depth: int = Field(50, ge=2, description="candidates a query")
    stages: list[RerankStage] = Field(min_length=1, description="trainings, one after the other")


class RerankRecipe(Strict):
    """Everything a run of the recipe depends on; saved with the run."""

    student: Literal["reranker"] = Field(description="what is trained")
    out: Path = Field(description="run folder")
    corpus: Path = Field(description="documents: JSONL, BEIR or Parquet")
    train: Path | None = Field(None, description="contexts to learn from")
    queries: Path | None = Field(None, description="given queries to learn from: queries.jsonl or id<TAB>text")
    crops: int = Field(0, ge=0, description="sentences cropped from documents to learn from")
    questions: str = Field("", description="teacher of the store whose questions of documents to learn from")
    dev: Path | None = Field(None, description="contexts to select by")
    test: Path | None = Field(None, description="contexts to report on; never trained or selected on")
    labels: Path | None = Field(None, description="label store; by default in the run folder")
    teacher_run: Path | None = Field(None, description="run whose order teaches, in place of labels of the store")
    retrievers: dict[str, str] = Field(
        {"bm25": "bm25"}, description="name → bm25, a run folder or recipe, or a run file", min_length=1, max_length=8
    )
    model: str = Field("all-minilm-l6-v2", description="start: packaged name, folder, model id or .gguf file")
    score: Score | None = Field(None, description="of a language model; none for an encoder")
    words: tuple[str, str] = Field(("true", "false"), description="answers of a language model")
    method: RerankMethod | str = Field("rerank", description="preset, path of a method's file, or its options")
    max_length: int = Field(128, description="tokens of a conversation")
    passage_length: int = Field(256, ge=1, description="tokens of a passage")
    answers: bool = Field(True, description="render the assistant's turns")
    chunk_tokens: int = Field(8192, ge=1, description="tokens whose activations are held at a time")
    training: dict[str, Any] = Field({}, description="options of TrainSettings")

    def splits(self) -> dict[str, Path]:
        """Files of contexts that the recipe names."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: path for name, path in given.items() if path is not None}

    def render_settings(self) -> RenderSettings:
        """Of the conversation's side."""
        return RenderSettings(max_length=self.max_length, answers=self.answers)

    def student_settings(self) -> RerankerSettings | LanguageRerankerSettings:
        """Of an encoder, or of a language model where the recipe names a score."""
        if self.score is None:
            return RerankerSettings(self.render_settings(), self.passage_length)
        true, false = self.words
        return LanguageRerankerSettings(
            self.render_settings(), self.passage_length, self.score, true=true, false=false, token=true
        )

    def train_settings(self, stage: RerankStage) -> TrainSettings:
        """Of one stage."""
        return TrainSettings(**typed("training", TrainSettings, {**stage.training, **self.training}))

    def chosen_method(self) -> RerankMethod:
        """The method, named or spelled out."""
        return rerank_preset(self.method) if isinstance(self.method, str) else self.method

    def check(self) -> None:
        """Refuse now what would be refused hours later.

        Raises:
            ConfigError, ObjectiveError: naming the option.
        """
        self.student_settings()
        method = self.chosen_method()
        given = labels_given(method.kind, method.rank_to_score)
        for stage in method.stages:
            self.train_settings(stage)
            stage.build_draw()
            if stage.strangers and stage.taught:
                raise ConfigError(
                    f"strangers beside {', '.join(stage.objective)}: no teacher speaks of random passages",
                    "leave them to a stage of infonce",
                )
            if stage.queries == "crops" and not self.crops:
                raise ConfigError("a stage learns from cropped sentences, and there are none", "give crops")
            check_writes_nothing(stage.build_objective())
            check_labels(stage.build_objective(), stage.objective, method.kind, given)
        if not (self.train or self.queries or self.crops or self.questions):
            raise ConfigError("the recipe names nothing to learn from", "give train, queries, crops or questions")

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, presets and defaults spelled out."""
        method = self.chosen_method()
        stages = [asdict(self.train_settings(stage)) for stage in method.stages]
        return self.model_dump(mode="json") | {"method": method.model_dump(mode="json"), "stages": stages}


def rerank_preset(name: str) -> RerankMethod:
    """A preset of this package, "rerank", "encoder" or "twolar", or a YAML file by path.

    Raises:
        ConfigError: no such preset or file, or one with unknown options.
    """
    folder = files("distillir.recipes") / "presets" / "rerank"
    known = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    if not is_path(name) and name not in known:
        raise ConfigError(f"no preset {name!r}", f"use one of {', '.join(known)}, or the path of a .yaml file")
    content = read_yaml(Path(name) if is_path(name) else folder / f"{name}.yaml")
    try:
        return RerankMethod.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}", "see distillir.recipes.RerankMethod for the options") from error


def read_rerank_recipe(path: str | Path) -> RerankRecipe:
    """Read and check a recipe file; its relative paths are relative to it.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of the wrong kind.
    """
    recipe = recipe_of(RerankRecipe, options_in(path), path)
    base = Path(path).parent
    moved = {name: value if value == "bm25" else str(base / value) for name, value in recipe.retrievers.items()}
    return recipe.model_copy(update={"retrievers": moved})
