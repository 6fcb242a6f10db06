"""The recipe file of a sparse student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import Field, ValidationError

from distillir.errors import ConfigError
from distillir.index import read_engine
from distillir.recipes.assemble import check_method, typed
from distillir.recipes.method import Method, Strict, explain, is_path, preset
from distillir.recipes.yaml_file import read_yaml
from distillir.rendering import RenderSettings
from distillir.students import SparseSettings
from distillir.training import TrainSettings

R = TypeVar("R", bound=Strict)


class SparseRecipe(Strict):
    """Everything a run of the recipe depends on; saved with the run."""

    out: Path = Field(description="run folder")
    corpus: Path = Field(description="documents: JSONL, BEIR or Parquet, or a folder of Markdown, text, HTML and PDF")
    train: Path | None = Field(None, description="contexts to learn from, one JSON object a line")
    dev: Path | None = Field(None, description="contexts to select by; those that name relevant documents count")
    test: Path | None = Field(None, description="contexts to report on; never trained or selected on")
    candidate_corpus: Path | None = Field(
        None, description="documents that training contexts without gold draw from; by default the corpus"
    )
    labels: Path | None = Field(None, description="label store on a local disk; by default in the run folder")
    model: str = Field("splade-tiny", description="start of student and encoder: packaged name, folder or model id")
    method: Method | str = Field("student", description="preset, path of a method's file, or the options of a method")
    gate: bool = Field(True, description="turn gate")
    turn_embeddings: bool = Field(False, description="turn embeddings")
    max_length: int = Field(256, description="tokens of a conversation")
    document_length: int = Field(256, ge=4, description="tokens of a document")
    answers: bool = Field(True, description="render the assistant's turns")
    engine: str | dict[str, Any] = Field("qdrant_edge", description="index engine: a name, or {name: …, options}")
    screen: bool = Field(False, description="bfloat16 screen of the head, where the processor has it")
    training: dict[str, Any] = Field({}, description="options of TrainSettings")

    def splits(self) -> dict[str, Path]:
        """Files of contexts that the recipe names."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: path for name, path in given.items() if path is not None}

    def student_settings(self) -> SparseSettings:
        """Of the student; the encoder's are the same without gate and turn embeddings."""
        render = RenderSettings(max_length=self.max_length, answers=self.answers)
        return SparseSettings(
            render=render,
            gate=self.gate,
            turn_embeddings=self.turn_embeddings,
            document_length=self.document_length,
        )

    def train_settings(self) -> TrainSettings:
        """Of the loop."""
        settings = TrainSettings(**typed("training", TrainSettings, self.training))
        for name in ("max_steps", "weight_decay", "clip", "evaluate_every", "patience", "checkpoint_every"):
            if not getattr(settings, name) >= 0:
                raise ConfigError(f"training: {name} is {getattr(settings, name)}", "give 0 or more")
        return settings

    def chosen_method(self) -> Method:
        """The method, named or spelled out."""
        return preset(self.method) if isinstance(self.method, str) else self.method

    def check(self) -> None:
        """Refuse now what would be refused hours later.

        Raises:
            ConfigError, ObjectiveError: naming the option.
        """
        self.student_settings()
        self.train_settings()
        check_method(self.chosen_method())
        read_engine(self.engine)

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, presets and defaults spelled out."""
        settings: Mapping[str, Any] = asdict(self.train_settings())
        return self.model_dump(mode="json") | {
            "method": self.chosen_method().model_dump(mode="json"),
            "training": {name: dict(v) if isinstance(v, Mapping) else v for name, v in settings.items()},
        }


def read_recipe(path: str | Path) -> SparseRecipe:
    """Read and check a recipe file; its relative paths are relative to it.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of the wrong kind.
    """
    content = options_in(path)
    if content.get("student") == "dense":
        path = Path(path)
        raise ConfigError(f"{path}: a dense recipe, which has no such stage by itself", f"run `distillir train {path}`")
    return recipe_of(SparseRecipe, content, path)


def options_in(path: str | Path) -> dict[str, Any]:
    """Options of a recipe file, as written.

    Raises:
        ConfigError: unreadable, or something else than options.
    """
    path = Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: no recipe, it holds no option", "compare with the recipe in the README")
    return content


def recipe_of(kind: type[R], content: Mapping[str, Any], path: str | Path) -> R:
    """The checked recipe of some options; relative paths are relative to the file they were read from.

    Args:
        kind: class of the recipe.
        content: its options.
        path: of the file.

    Raises:
        ConfigError: an unknown key, or a value of the wrong kind.
    """
    recipe: Any = unchecked_recipe(kind, content, path)
    recipe.check()
    return cast(R, recipe)


def unchecked_recipe(kind: type[R], content: Mapping[str, Any], path: str | Path) -> R:
    """The same, whose options have the right names and kinds, and no more is known of them."""
    path = Path(path)
    try:
        recipe: Any = kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}", "compare with the recipe in the README") from error
    base = path.parent
    moved: dict[str, Any] = {name: base / value for name, value in recipe if isinstance(value, Path)}
    if (base / recipe.model).is_dir():
        moved["model"] = str((base / recipe.model).resolve())
    if isinstance(recipe.method, str) and is_path(recipe.method):
        moved["method"] = str(base / recipe.method)
    return cast(R, recipe.model_copy(update=moved))
