"""Trainings of the generative benchmark: to write, and to rank by each objective and teacher."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.generative_data import FOLDER, Collection, Size
from benchmarks.mtrag_data import say
from distillir.data import Context, Run
from distillir.data.views import BODY, TITLE
from distillir.errors import DataError
from distillir.index.identifiers import IdentifierIndex
from distillir.recipes.generative_fit import GenerativeLists, fit_generative
from distillir.recipes.generative_lists import OwnLists, own_lists
from distillir.recipes.generative_open import identifiers_of
from distillir.recipes.generative_recipe import GenerativeStage
from distillir.recipes.marks import context_facts, told_by, write_text
from distillir.rendering import RenderSettings
from distillir.search import GenerativeRetriever
from distillir.students import GenerativeSettings, GenerativeStudent
from distillir.students.device import fastest_device
from distillir.students.student_folder import is_student
from distillir.teachers.packaged_llm import PACKAGED_LLMS, gguf_of
from distillir.training import Tick, TrainSettings

LEARN = GenerativeStage(objective={"likelihood": {}}, spans=2)
GAP: dict[str, float | int | str | bool] = {"margin": 0.2, "step": 1 / 15, "gold_first": True, "relative": True}
HARD: dict[str, float | int | str | bool] = {**GAP, "step": 0.0, "top_weight": 1.0, "by": "gold", "gold_first": False}


@dataclass(frozen=True)
class Row:
    """A second training: objective with its options, and the teacher whose scores it reads; "" = golds alone."""

    objective: dict[str, dict[str, float | int | str | bool]]
    teacher: str = "dense"

    def stage(self, depth: int) -> GenerativeStage:
        """With the likelihood beside, and one gold and four others a list, two lists a context."""
        return GenerativeStage(
            objective={**self.objective, "likelihood": {"weight": 0.5}},
            draw={"uniform_band": {"n": 4, "first": 1, "last": depth}},
            gold="one",
            lists=2,
        )


def rows(size: Size) -> dict[str, Row]:
    """Second trainings by name."""
    chosen = {
        "hard": Row({"rank_gap": HARD}, teacher=""),
        "dgr": Row({"rank_gap": {**GAP, "by": "scores"}}),
        "dgr_fused": Row({"rank_gap": {**GAP, "by": "scores"}}, teacher="fused"),
    }
    # Of these an order is the default.
    others = {name: Row({name: {"by": "scores"}}) for name in ("ranknet", "lambda_rank", "listnet")}
    # These compare the scores themselves, so a cosine must first have the student's scale.
    others |= {
        "kld": Row({"kld": {"tau": "entropy", "effective_documents": 2.0}}, teacher="scaled"),
        "margin_mse": Row({"margin_mse": {}}, teacher="scaled"),
    }
    return chosen | {name: others[name] for name in size.objectives}


def start_of(size: Size) -> GenerativeStudent:
    """The language model as it comes."""
    source = gguf_of(size.model) if size.model in PACKAGED_LLMS else Path(size.model)
    settings = GenerativeSettings(RenderSettings(max_length=size.max_length), (TITLE, BODY))
    return GenerativeStudent.from_pretrained(source, settings)


@dataclass(frozen=True)
class Bench:
    """One collection under work.

    Attributes:
        collection, size: of the benchmark. index: identifiers of the corpus.
    """

    collection: Collection
    size: Size
    index: IdentifierIndex

    @classmethod
    def of(cls, collection: Collection, size: Size, student: GenerativeStudent) -> Bench:
        """With identifiers, which are the same for every student."""
        folder = FOLDER / f"{collection.name}-{student.reader.fingerprint()}"
        return cls(collection, size, identifiers_of(student, collection.corpus, folder))

    def retriever(self, student: GenerativeStudent, beams: int | None = None) -> GenerativeRetriever:
        return GenerativeRetriever(
            student.to(fastest_device()),
            self.index,
            self.collection.corpus,
            beams=beams or self.size.beams,
            smoothing=self.size.smoothing,
        )

    def learn(self, seed: int) -> GenerativeStudent:
        """The first training; a student that was trained of exactly this before is opened again."""
        size = self.size
        settings = TrainSettings(
            epochs=1000,
            max_steps=size.learn_steps,
            batch_size=16,
            lr=size.lr,
            warmup=0.1,
            seed=seed,
            precision="bf16" if size.bf16 else "fp32",
        )
        folder = FOLDER / "students" / self.told(settings, LEARN)
        if is_student(folder):
            return GenerativeStudent.from_pretrained(folder)
        student = start_of(size)
        say(f"{self.collection.name}, seed {seed}: learn to write, {len(self.collection.train):,} contexts")
        fit_generative(
            student, self.collection.train, self.collection.corpus, self.index, LEARN, settings, watch=told("write")
        )
        student.save(folder)
        return student

    def told(self, *facts: object) -> str:
        """Name of what was made of the collection and some facts."""
        contexts = [context_facts(c) for c in self.collection.train]
        size = [self.size.model, self.size.max_length, self.size.beams, self.size.smoothing, self.size.depth]
        return told_by(name=self.collection.name, contexts=contexts, size=size, facts=[str(one) for one in facts])[:16]

    def lists(self, student: GenerativeStudent) -> tuple[list[Context], OwnLists]:
        """What a student finds for the first contexts, which the second training reads."""
        contexts = self.collection.train[: self.size.lists]
        facts = self.told(student.fingerprint(), len(contexts), self.index.stamp)
        folder = FOLDER / "own-lists" / facts
        say(f"{self.collection.name}: own lists of {len(contexts):,} contexts")
        return contexts, own_lists(self.retriever(student), contexts, folder, facts, depth=self.size.depth)

    def rank(
        self,
        name: str,
        row: Row,
        learnt: GenerativeStudent,
        contexts: Sequence[Context],
        own: OwnLists,
        labels: Mapping[str, Run],
        seed: int,
        *,
        again: bool = False,
    ) -> tuple[Run, GenerativeStudent] | None:
        """What a copy of a student finds after a second training, and the copy; None where nothing is to be learnt.

        What was found before is read again, and the student is then the one that came in, unless it is to be trained
        `again`.
        """
        size, stage = self.size, row.stage(self.size.depth)
        settings = TrainSettings(
            epochs=1000,
            max_steps=size.rank_steps,
            batch_size=8,
            lr=size.lr / 3,
            warmup=0.1,
            seed=seed,
            precision="bf16" if size.bf16 else "fp32",
        )
        said = sorted((query, sorted(told.items())) for query, told in labels.get(row.teacher, {}).items())
        asked = [c.id for c in self.collection.test]
        path = FOLDER / "found" / f"{self.told(stage, said, settings, learnt.fingerprint(), len(contexts), asked)}.json"
        if path.is_file() and not again:
            return json.loads(path.read_text()), learnt
        student = copy.deepcopy(learnt)
        lists = GenerativeLists(own, labels.get(row.teacher, {}), "scores")
        say(f"{self.collection.name}, seed {seed}: {name}")
        corpus = self.collection.corpus
        try:
            fit_generative(student, contexts, corpus, self.index, stage, settings, lists=lists, watch=told(name))
        except DataError as error:
            say(f"  {error}")
            return None
        found = self.found(student)
        write_text(path, json.dumps(found))
        return found, student

    def found(self, student: GenerativeStudent) -> Run:
        """The first 100 passages of each test context; what the same student found before is read again."""
        asked = self.collection.test
        path = FOLDER / "found" / f"{self.told(student.fingerprint(), [c.id for c in asked], self.index.stamp)}.json"
        if path.is_file():
            return cast(Run, json.loads(path.read_text()))
        hits = self.retriever(student).retrieve_batch([c.conversation for c in asked], 100)
        found = {c.id: {hit.id: hit.score for hit in own} for c, own in zip(asked, hits, strict=True)}
        write_text(path, json.dumps(found))
        return found


def held(own: OwnLists, contexts: Sequence[Context], bench: Bench) -> dict[str, float]:
    """Of how many contexts the own list holds a gold, and how many passages it has."""
    run = own.run(bench.collection.corpus)
    gold = [any(d in run.get(c.id, {}) for d in c.relevant) for c in contexts]
    return {
        "gold_in_list": round(float(np.mean(gold)), 4),
        "passages": round(float(np.mean([len(run.get(c.id, {})) for c in contexts])), 1),
    }


def told(name: str) -> Callable[[Tick], None]:
    """A line every ten steps."""

    def watch(tick: Tick) -> None:
        if tick.step % 10 == 0 or tick.step == tick.steps:
            speed = f"{tick.steps_per_second:.2f} steps/s"
            say(f"  {name}: step {tick.step} of {tick.steps}, loss {tick.loss:.4f}, {speed}")

    return watch
