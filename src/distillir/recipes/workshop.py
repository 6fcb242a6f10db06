"""A run folder at work: the recipe checked, the folder locked, and the stages that need no training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from distillir.data import Context, Corpus, read_contexts
from distillir.encoding.shares import Shares
from distillir.errors import ConfigError, DataError
from distillir.recipes.marks import write_text
from distillir.recipes.progress import Stages
from distillir.recipes.recipe import SparseRecipe
from distillir.recipes.stages import documents_of, indexed, with_source
from distillir.recipes.systems import plain
from distillir.students import SparseStudent
from distillir.training.crew import processes
from distillir.vectors import SparseVectors
from distillir.vectors.files import FolderLock

SAVED = "recipe.json"  # the resolved recipe in a run folder


class Workshop:
    """What the stages of a run share; every artefact is made or reused when it is first asked for.

    Attributes:
        contexts: split → its contexts, for the splits that the recipe names.
        shares: where documents are encoded; None = in this process.
    """

    def __init__(
        self, recipe: SparseRecipe, stages: Stages, contexts: dict[str, list[Context]], shares: Shares | None = None
    ) -> None:
        self.recipe = recipe
        self.stages = stages
        self.contexts = contexts
        self.shares = shares

    @cached_property
    def encoder(self) -> SparseStudent:
        """The frozen encoder of documents and rewrites: the start checkpoint, without gate or turn embeddings."""
        return plain(self.recipe)

    @cached_property
    def documents(self) -> tuple[Corpus, SparseVectors]:
        """The corpus and its vectors."""
        return documents_of(self.recipe.corpus, "corpus", self.recipe.out, self.encoder, self.stages, self.shares)

    @cached_property
    def candidates(self) -> SparseVectors | None:
        """Vectors of the candidate corpus, where the recipe names one."""
        source = self.recipe.candidate_corpus
        if source is None:
            return None
        return documents_of(source, "candidates", self.recipe.out, self.encoder, self.stages, self.shares)[1]

    def index(self) -> None:
        """The index over the corpus, in the run folder."""
        indexed(self.recipe.out, self.recipe.engine, *self.documents, self.stages)

    def counts(self) -> dict[str, dict[str, int]]:
        """Contexts of each split, how many name relevant documents, and how many of those are in the corpus.

        Raises:
            DataError: a split of which no relevant document is in the corpus.
        """
        corpus, _ = self.documents
        return {name: judged_counts(self.recipe.splits()[name], found, corpus) for name, found in self.contexts.items()}


@contextmanager
def at_work(recipe: SparseRecipe, *, quiet: bool = False, shares: Shares | None = None) -> Iterator[Workshop]:
    """Check a recipe, lock its run folder, and work in it; `shares` as in `Workshop`.

    Raises:
        ConfigError: an option that cannot be, or splits that share a conversation; before anything is computed.
        DataError: contexts that cannot be read.
        VectorsError: another process works in the run folder.
    """
    recipe.check()
    contexts = {name: with_source(read_contexts(path), path) for name, path in recipe.splits().items()}
    check_disjoint(contexts)
    try:
        recipe.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out: {recipe.out}: {error.strerror}", "name a folder that can be written") from error
    lock = FolderLock(recipe.out / ".lock")
    try:
        with Stages(quiet=quiet) as stages:
            if (count := processes()) > 1:
                stages.say(f"{count} processes: a batch is {count} times batch_size · accumulate contexts")
            write_text(recipe.out / SAVED, json.dumps(recipe.resolved(), indent=2) + "\n")
            yield Workshop(recipe, stages, contexts, shares)
    finally:
        lock.release()


def check_disjoint(contexts: dict[str, list[Context]]) -> None:
    """Refuse splits that share a conversation or a context.

    Raises:
        ConfigError: naming it.
    """
    names = list(contexts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if both := sorted({c.group for c in contexts[one]} & {c.group for c in contexts[other]}):
                raise ConfigError(
                    f"conversation {both[0]!r} is in both {one} and {other}", "split by conversation, not by turn"
                )
            if both := sorted({c.id for c in contexts[one]} & {c.id for c in contexts[other]}):
                raise ConfigError(f"context {both[0]!r} is in both {one} and {other}", "give each context its own id")


def judged_counts(path: Path, contexts: Sequence[Context], corpus: Corpus) -> dict[str, int]:
    """Counts of one split; dev and test need something to be measured by."""
    judged = [c for c in contexts if c.relevant]
    held = [c for c in judged if any(d in corpus for d in c.relevant)]
    if judged and not held:
        raise DataError(
            path,
            f"none of its relevant documents is in the corpus, such as {next(iter(judged[0].relevant))!r}",
            cure="check that contexts and corpus belong together",
        )
    return {"contexts": len(contexts), "with_relevant": len(judged), "with_relevant_in_corpus": len(held)}
