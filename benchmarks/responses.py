"""Response retrieval on BYU Chit-Chat: pairs, and both levels of G2R, from all-MiniLM-L6-v2 and SmolLM2-135M.

Every row is measured on one fixed set of gold responses: hits among 100 candidates, MRR over the whole set; variety of
what is said from the golds alone and from the set that generated responses joined. Latency is of one context at a time,
encoding and search against generation by the teacher. `--full` has three seeds of the rows, one of the ablations, and a
judge of another family: mutual information of context and response under Qwen2.5-Coder-1.5B, beside random and the most
generic responses. Test is only reported. Labels and trainings that are done are kept; a run that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from benchmarks.mtrag_data import BUILD, say
from distillir.data import Context, ResponseRules, ResponseSet, load_chitchat
from distillir.errors import ConfigError
from distillir.evaluation import Comparison, SystemResult, compare, distinct, mean_length, measure_latency
from distillir.labels import LabelStore
from distillir.recipes.marks import context_facts, told_by, write_text
from distillir.recipes.response_fit import ResponseLabelled, fit_response, join_labelled, score_labelled
from distillir.recipes.response_measure import ResponseTestBed, best
from distillir.recipes.response_recipe import ResponseMethod
from distillir.rendering import RenderSettings
from distillir.search import ResponseRetriever
from distillir.students import DenseSettings, ResponseStudent, resolve
from distillir.students.response_checkpoint import is_response_student
from distillir.teachers import (
    Candidates,
    LikelihoodSettings,
    LikelihoodTeacher,
    LocalModel,
    LocalSettings,
    Respond,
    RespondSettings,
    made_labels,
    teach,
)
from distillir.training import TrainSettings

MODEL, TEACHER, JUDGE = "all-minilm-l6-v2", "smollm2-135m", "qwen2.5-coder-1.5b"
FOLDER = BUILD / "responses"
RULES = ResponseRules(longest=200)
MEASURES = ("RR", "R@1", "R@10", "R@100")


@dataclass(frozen=True)
class Size:
    """Contexts of each split and of the judge, responses in the set, generated ones a context, steps, seeds.

    Attributes:
        bf16: train and judge in bfloat16, half the time of a training on processors that can.
    """

    train: int
    dev: int
    test: int
    responses: int
    generated: int
    steps: int
    seeds: tuple[int, ...]
    judged: int = 0
    latency: int = 5
    bf16: bool = False


SHORT = Size(train=96, dev=60, test=200, responses=2000, generated=2, steps=12, seeds=(13,))
FULL = Size(
    train=480,
    dev=200,
    test=1000,
    responses=8000,
    generated=3,
    steps=90,
    seeds=(13, 14, 15),
    judged=40,
    latency=20,
    bf16=True,
)
ROWS = ("pairs", "data", "data_model")


def method(a: float, *, generated: int | None = None) -> ResponseMethod:
    """L = (1 − a)·L_CE + a·L_KD."""
    objective: dict[str, dict[str, float | int | str | bool]] = {"infonce": {"weight": 1 - a, "own_list": False}}
    if a:
        objective["kld"] = {"weight": a, "shared": True}
    return ResponseMethod(objective=objective, negatives=64, own=4, per_context=generated, teacher="t" if a else "")


def run(data: Path | None, full: bool) -> dict[str, Any]:
    """The rows, latency, and with `full` the ablations and the judge."""
    if data is None:
        raise ConfigError("responses needs the data sets", "give --data DIR")
    return measured(data, FULL if full else SHORT, full)


def measured(data: Path, size: Size, full: bool, *, folder: Path = FOLDER, judge: str = JUDGE) -> dict[str, Any]:
    """The result at a size."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder.mkdir(parents=True, exist_ok=True)
    splits, golds = material(data, size)
    teacher = LocalModel(TEACHER)
    with LabelStore(folder / "labels.sqlite") as store:
        said = respond(splits["train"], teacher, store, size.generated)
        pairs = join_labelled(golds, splits["train"], {}, RULES)
        data_level = join_labelled(golds, splits["train"], {"respond": said}, RULES)
        levels = {"pairs": (pairs, method(0.0)), "data": (data_level, method(0.0))}
        scored = likelihoods(data_level, teacher, store, "response")
        levels["data_model"] = (scored, method(0.1))
        if full:
            mutual = likelihoods(data_level, teacher, store, "mutual")
            levels |= {f"a={a}": (scored, method(a)) for a in (0.3, 1.0)} | {"mutual": (mutual, method(0.1))}
            for n in range(1, size.generated):
                some = join_labelled(golds, splits["train"], {"respond": said}, RULES, n)
                levels[f"n={n}"] = (score_labelled(some, _told(scored)), method(0.1))
        asked = ("respond", "response/pairs", *(("mutual/pairs",) if full else ()))
        seconds = {name: round(sum(row.label.seconds for row in store.rows(name)), 1) for name in asked}
        bed = ResponseTestBed.of(splits["test"], data_level.responses, data_level.golds, "test")
        dev = ResponseTestBed.of(splits["dev"], data_level.responses, data_level.golds, "dev")
        figures, systems, kept = rows(levels, bed, dev, size)
        groups = {c.id: c.group for c in bed.contexts}
        compared = {base: compare(systems, bed.qrels(), None, groups, base, measures=MEASURES) for base in ROWS[:2]}
        print(f"\ntest, seed {size.seeds[0]}\n{compared['pairs'].text()}")
        if size.judged:
            main = {name: kept[name] for name in ("untrained", *ROWS)}
            form = "bfloat16" if size.bf16 else "float32"
            verdicts = judged(main, bed, size.judged, LocalModel(LocalSettings(judge, dtype=form)), store)
            for name, verdict in verdicts.items():
                figures.setdefault(name, {})["judge"] = verdict
    latency = latencies(kept["data_model"], data_level.responses, bed.contexts[: size.latency], teacher)
    return {
        "bench": "responses",
        "split": "test",
        "seeds": list(size.seeds),
        "rows": figures,
        **{
            f"compared_with_{base}": {name: _cells(told, name) for name in told.systems if name != base}
            for base, told in compared.items()
        },
        **latency,
        "label_seconds": seconds,
        "train_contexts": len(scored.contexts),
        "responses": {"gold": data_level.golds, "all": len(data_level.responses)},
        "left_out": dict(data_level.left_out),
    }


def material(data: Path, size: Size) -> tuple[dict[str, list[Context]], ResponseSet]:
    """Contexts spread evenly over each split, and a fixed set: their golds, then others of the data set."""
    chat = load_chitchat(data / "dialogue_chitchat")
    splits = {}
    for name, count in (("train", size.train), ("dev", size.dev), ("test", size.test)):
        every = [c for c in chat.contexts(name) if not RULES.refuse(chat.responses.text(_gold(c, chat.responses)))]
        splits[name] = [every[i * len(every) // count] for i in range(count)]
    own = {_gold(c, chat.responses) for found in splits.values() for c in found}
    others = [i for i in np.random.default_rng(13).permutation(len(chat.responses)).tolist() if i not in own]
    wanted = [*sorted(own), *others[: max(0, size.responses - len(own))]]
    return splits, ResponseSet(chat.responses[i] for i in wanted)


def respond(contexts: Sequence[Context], model: LocalModel, store: LabelStore, count: int) -> dict[str, list[str]]:
    """Context id → what the teacher says."""
    say(f"responses of {len(contexts):,} contexts")
    teacher = Respond(contexts, RespondSettings(n=count, max_tokens=24, exchanges=3, words=40))
    teach(teacher, model, store)
    labels = made_labels(teacher, model.name, store)
    return {name: [one["text"] for one in label.value] for name, label in labels.items() if label.value}


def likelihoods(labelled: ResponseLabelled, model: LocalModel, store: LabelStore, of: str) -> ResponseLabelled:
    """With the teacher's scores of all own candidates."""
    say(f"{of} likelihoods of {len(labelled.contexts):,} contexts")
    lists = [
        Candidates(c.id, c.conversation.question, {n: _text(labelled, n) for n in c.relevant}, c.conversation)
        for c in labelled.contexts
    ]
    how: Any = {"of": of, "name": of, "exchanges": 3, "words": 40}
    teacher = LikelihoodTeacher(lists, LikelihoodSettings(**how))
    teach(teacher, model, store)
    labels = made_labels(teacher, model.name, store)
    return score_labelled(labelled, {name: label.value for name, label in labels.items() if label.value})


def rows(
    levels: Mapping[str, tuple[ResponseLabelled, ResponseMethod]],
    bed: ResponseTestBed,
    dev: ResponseTestBed,
    size: Size,
) -> tuple[dict[str, dict[str, Any]], list[SystemResult], dict[str, ResponseStudent]]:
    """Figures by row, means over seeds; runs and students of the first seed."""
    start = untrained()
    found, figures = measure(start, bed)
    rows, systems, kept = {"untrained": figures}, [SystemResult("untrained", found)], {"untrained": start}
    for name, (labelled, how) in levels.items():
        several = []
        for seed in size.seeds if name in ROWS else size.seeds[:1]:
            say(f"{name}, seed {seed}")
            student = trained(labelled, how, seed, size, dev)
            found, figures = measure(student, bed)
            several.append(figures)
            if seed == size.seeds[0]:
                kept[name] = student
                systems.append(SystemResult(name, found))
        rows[name] = {key: round(fmean(one[key] for one in several), 4) for key in several[0]}
        rows[name]["mrr_by_seed"] = [one["mrr"] for one in several]
    return rows, systems, kept


def trained(
    labelled: ResponseLabelled, how: ResponseMethod, seed: int, size: Size, dev: ResponseTestBed
) -> ResponseStudent:
    """A student; what was trained of exactly this before is opened again."""
    settings = TrainSettings(
        epochs=100,
        max_steps=size.steps,
        batch_size=16,
        lr=5e-5,
        warmup=0.1,
        seed=seed,
        evaluate_every=size.steps,
        precision="bf16" if size.bf16 else "fp32",
    )
    student = untrained()
    facts = told_by(
        start=student.fingerprint(),
        size=asdict(size),
        method=how.model_dump(),
        training=str(settings),
        contexts=[context_facts(c) for c in labelled.contexts],
        responses=[[labelled.responses.text(int(p)) for p in own] for own in labelled.positives],
        scores=[sorted(one.items()) for one in labelled.scores or ()] if how.taught else [],
    )
    folder = FOLDER / "students" / facts[:16]
    if is_response_student(folder):
        return ResponseStudent.from_pretrained(folder)
    fit_response(student, labelled, how, settings, evaluate=dev.figure)
    student.save(folder)
    return student


def untrained() -> ResponseStudent:
    """The start."""
    settings = DenseSettings.of(resolve(MODEL), render=RenderSettings(max_length=64), document_length=32)
    return ResponseStudent.from_pretrained(resolve(MODEL), settings)


def measure(student: ResponseStudent, bed: ResponseTestBed) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The run over the golds, and the figures of a row; what was measured before is read again."""
    facts = told_by(student=student.fingerprint(), contexts=[c.id for c in bed.contexts], responses=bed.texts())
    path = FOLDER / "measured" / f"{facts[:16]}.json"
    if path.is_file():
        run, row = json.loads(path.read_text())
        return run, row
    found, figures = bed.measure(student)
    ranks = []
    for context, own in zip(bed.contexts, bed.golds, strict=True):
        names = list(found[context.id])
        places = [names.index(bed.responses[p].id) + 1 for p in own if bed.responses[p].id in found[context.id]]
        ranks.append(1 / min(places) if places else 0.0)
    row = {"hits1": figures["hits@1/100"], "hits10": figures["hits@10/100"], "mrr": fmean(ranks)}
    said = [bed.responses.text(bed.responses.position(next(iter(found[c.id])))) for c in bed.contexts]
    row |= {f"dist{n}_gold": distinct(said, n) for n in (2, 3)} | {"words_gold": mean_length(said)}
    row |= {f"dist{n}_all": figures[f"Dist-{n}"] for n in (2, 3)} | {"words_all": figures["words"]}
    row = {name: round(value, 4) for name, value in row.items()}
    write_text(path, json.dumps([found, row]))
    return found, row


def judged(
    students: Mapping[str, ResponseStudent], bed: ResponseTestBed, count: int, model: LocalModel, store: LabelStore
) -> dict[str, float]:
    """Mean mutual information per token of what each student, a draw and the most generic response say."""
    contexts = bed.contexts[:: max(1, len(bed.contexts) // count)][:count]
    rng = np.random.default_rng(13)
    said: dict[str, list[str]] = {"random": [bed.responses.text(int(i)) for i in rng.integers(bed.count, size=count)]}
    for name, student in students.items():
        vectors = student.encode_responses(bed.texts())
        asked = student.encode_queries([c.conversation for c in contexts])
        said[name] = [bed.responses.text(int(row)) for row in best(asked, vectors, 1)[0][:, 0]]
        if name == "untrained":  # the most generic: nearest to the mean of all
            place = int(best(vectors.mean(0, keepdims=True), vectors, 1)[0][0, 0])
            said["generic"] = [bed.responses.text(place)] * len(contexts)
    lists = []
    for i, context in enumerate(contexts):
        texts = {name: found[i] for name, found in said.items()}
        lists.append(Candidates(context.id, context.conversation.question, texts, context.conversation))
    name = f"judge-{model.settings.dtype}"  # whose scores differ in the third digit
    teacher = LikelihoodTeacher(lists, LikelihoodSettings(of="mutual", name=name, exchanges=3, words=40))
    say(f"judge: {model.settings.model}")
    teach(teacher, model, store)
    values = [label.value for label in made_labels(teacher, model.name, store).values() if label.value]
    return {name: round(fmean(one[name] for one in values), 4) for name in said}


def latencies(
    student: ResponseStudent, responses: ResponseSet, contexts: Sequence[Context], teacher: LocalModel
) -> dict[str, float]:
    """Milliseconds of one context, retrieved and generated, and their ratio."""
    with TemporaryDirectory() as scratch, ResponseRetriever.build(student, responses, Path(scratch) / "index") as chat:
        retrieved = measure_latency(lambda c: chat.respond(c.conversation), contexts, warmup=3, repeats=5).median_ms
    how = RespondSettings(n=1, max_tokens=24, exchanges=3, words=40)

    def generate(context: Context) -> None:
        with TemporaryDirectory() as folder, LabelStore(Path(folder) / "labels.sqlite") as store:
            teach(Respond([context], how), teacher, store)

    generated = measure_latency(generate, contexts, warmup=1).median_ms
    return {
        "retrieval_ms": round(retrieved, 2),
        "generation_ms": round(generated, 1),
        "latency_ratio": round(generated / retrieved, 1),
    }


def _gold(context: Context, responses: ResponseSet) -> int:
    return responses.position(next(iter(context.relevant)))


def _text(labelled: ResponseLabelled, name: str) -> str:
    return labelled.responses.text(labelled.responses.position(name))


def _told(labelled: ResponseLabelled) -> dict[str, dict[str, float]]:
    """Scores of a labelled set by id again."""
    told = labelled.scores or ()
    return {
        c.id: {labelled.responses[p].id: score for p, score in one.items()}
        for c, one in zip(labelled.contexts, told, strict=True)
    }


def _cells(compared: Comparison, name: str) -> dict[str, Any]:
    """MRR of a system, its difference to the baseline with its interval, and how likely that is by chance."""
    cell = compared.cells[name]["mrr"]
    told = {"mrr": cell.mean, "delta": cell.delta, "low": cell.delta_low, "high": cell.delta_high, "p": cell.p_holm}
    return {key: None if value is None else round(value, 4) for key, value in told.items()}
