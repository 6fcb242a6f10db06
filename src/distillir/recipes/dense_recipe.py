"""The recipe file of a dense student; `student: dense` tells it from a sparse one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field

from distillir.errors import ConfigError
from distillir.recipes.assemble import build_draw, check_writes_nothing
from distillir.recipes.dense_fit import build_dense_objective
from distillir.recipes.method import Method
from distillir.recipes.recipe import SparseRecipe, options_in, recipe_of
from distillir.recipes.yaml_file import read_yaml
from distillir.rendering import RenderSettings
from distillir.sampling.candidates import check_gold_policy
from distillir.students import resolve
from distillir.students.dense import DenseSettings
from distillir.training import TrainSettings

DEFAULT = "dense"
LR = 5e-5  # the loop's own default is for tiny models


class DenseRecipe(SparseRecipe):
    """Everything a run of the recipe depends on; keys that a sparse recipe has mean the same here."""

    student: Literal["dense"] = Field(description="what is trained")
    model: str = Field("all-minilm-l6-v2", description="start of student and encoder: packaged name, folder or id")
    method: Method | str = Field(DEFAULT, description="preset, path of a method's file, or the options of a method")
    gate: bool = Field(True, description="turn gate: earlier turns weigh less when tokens are pooled")
    gate_offset: float = Field(5.0, ge=0, description="offset of earlier turns in the gate at the start")
    max_length: int = Field(128, description="tokens of a conversation")
    pooling: Literal["mean", "cls"] | None = Field(None, description="by default as the checkpoint says, else mean")
    normalise: bool | None = Field(None, description="unit length; by default as the checkpoint says, else true")
    query_prefix: str | None = Field(None, description="before a question; by default as the checkpoint says")
    document_prefix: str | None = Field(None, description="before a document; by default as the checkpoint says")
    vectors: Path | None = Field(
        None, description="own document vectors of the model: .npy, .parquet, or a folder; by default they are encoded"
    )
    vector_ids: Path | None = Field(None, description="text file with the ids of a .npy, one a line")
    id_column: str = Field("id", description="of a .parquet")
    vector_column: str = Field("vector", description="of a .parquet")
    bf16: bool = Field(False, description="encode in bfloat16, where the processor has it")
    engine: Literal["exact"] = Field("exact", description="the vectors are searched where they lie")
    screen: Literal[False] = Field(False, description="of sparse students")
    candidate_corpus: None = Field(None, description="of sparse students")

    def dense_settings(self) -> DenseSettings:
        """Of the student; the encoder's are the same without gate and turn embeddings."""
        named = {name: getattr(self, name) for name in ("pooling", "normalise", "query_prefix", "document_prefix")}
        return DenseSettings.of(
            resolve(self.model),
            render=RenderSettings(max_length=self.max_length, answers=self.answers),
            gate=self.gate,
            gate_offset=self.gate_offset,
            turn_embeddings=self.turn_embeddings,
            document_length=self.document_length,
            **{name: value for name, value in named.items() if value is not None},
        )

    def train_settings(self) -> TrainSettings:
        """Of the loop."""
        given = {"lr": LR, **self.training}
        return SparseRecipe.train_settings(self.model_copy(update={"training": given}))

    def chosen_method(self) -> Method:
        """The method, named or spelled out."""
        return dense_preset() if self.method == DEFAULT else super().chosen_method()

    def check(self) -> None:
        """Refuse now what would be refused hours later.

        Raises:
            ConfigError, ObjectiveError: naming the option. ModelError: a model that cannot be read.
        """
        self.dense_settings()
        self.train_settings()
        check_dense_method(self.chosen_method())


def dense_preset() -> Method:
    """The preset of this package that is made for dense vectors."""
    return Method.model_validate(read_yaml(files("distillir.recipes") / "presets" / "dense" / "dense.yaml"))


def check_dense_method(method: Method) -> None:
    """Build everything a method names once, and refuse what dense vectors do not have.

    Raises:
        ConfigError, ObjectiveError: an unknown name or option, a value it cannot have, or a contradiction.
    """
    if method.penalties:
        raise ConfigError(
            f"penalties: {', '.join(method.penalties)} count active dimensions, and all of a dense vector's are",
            "leave penalties out",
        )
    if method.sparsity is not None:
        raise ConfigError("sparsity: all dimensions of a dense vector are active", "leave sparsity out")
    if method.score_rule != "true":
        raise ConfigError(f"score_rule: {method.score_rule!r} is of sparse students", "leave it out")
    if method.fusion != "linear":
        raise ConfigError(f"fusion: {method.fusion!r} is of sparse students", "leave it out")
    check_writes_nothing(build_dense_objective(method))
    build_draw(method)
    check_gold_policy(method.gold, method.pseudo_gold)


def is_dense(path: str | Path) -> bool:
    """Whether a recipe file is of a dense student."""
    content = read_yaml(Path(path))
    return isinstance(content, dict) and content.get("student") == "dense"


def read_dense_recipe(path: str | Path) -> DenseRecipe:
    """Read and check a recipe file; its relative paths are relative to it.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of the wrong kind.
    """
    return recipe_of(DenseRecipe, options_in(path), path)
