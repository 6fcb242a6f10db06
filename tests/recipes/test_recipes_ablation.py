"""Ablations: what varies, what is shared, what is kept, and what the report says of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from distillir.data import read_contexts
from distillir.errors import ConfigError, ObjectiveError
from distillir.evaluation import SystemResult
from distillir.recipes import (
    SparseRecipe,
    kind_of,
    read_factors,
    read_recipe,
    run_ablation,
)
from distillir.recipes.ablation import folds_of
from distillir.recipes.ablation_jobs import Job, pooled, seeded
from distillir.recipes.ablation_plan import BASE, Cell, Factors, cells_of, changed, runs_of
from distillir.recipes.ablation_report import ablation_of

TEMPERATURE = {"temperature": {"option": "method.objective.kld.tau", "levels": [1, 2]}}
RECIPES = Path(__file__).parents[2] / "recipes"


def recipe_of(folder: Path, **more: object) -> SparseRecipe:
    named = {name: folder / f"{name}.jsonl" for name in ("corpus", "train", "dev")}
    training = {"max_steps": 2, "batch_size": 6}
    return SparseRecipe(**{"out": folder / "run", **named, "engine": "exact", "training": training, **more})


@pytest.fixture
def recipe(animals, tmp_path) -> SparseRecipe:
    return recipe_of(animals(tmp_path / "data"))


def test_one_factor_at_a_time_or_all_combinations(recipe):
    factors = Factors(factors={**TEMPERATURE, "gate": {"off": {"gate": False}, "on": {"gate": True}}})
    cells = cells_of(recipe, factors)
    assert [c.name for c in cells] == [BASE, "temperature 1", "temperature 2", "gate off", "gate on"]
    assert [c.recipe.gate for c in cells] == [True, True, True, False, True]
    assert [c.recipe.method.objective["kld"]["tau"] for c in cells] == [4, 1, 2, 4, 4]
    assert runs_of(cells, 2, (1, 2, 3)) == 4 * 2 * 3  # "gate on" is the baseline
    grid = cells_of(recipe, factors, grid=True)
    assert [c.name for c in grid][1:] == [f"temperature {t}, gate {g}" for t in (1, 2) for g in ("off", "on")]
    assert [(c.recipe.method.objective["kld"]["tau"], c.recipe.gate) for c in grid[1:]] == [
        (1, False),
        (1, True),
        (2, False),
        (2, True),
    ]


def test_a_change_sets_replaces_and_removes_options_and_leaves_the_recipe_alone(recipe):
    before = recipe.resolved()
    made = changed(recipe, {"method.draw": {"top": {"n": 3}}, "method.objective.infonce": None, "training.lr": 1e-3})
    assert made.method.draw == {"top": {"n": 3}}
    assert set(made.method.objective) == {"kld"}
    assert made.train_settings().lr == 1e-3
    assert not made.train_settings().keep_best  # a best step chosen on dev would flatter the cell
    assert recipe.resolved() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"corpus": "other.jsonl"}, "'corpus' cannot be varied"),
        ({"method.temperature": 1}, "temperature"),
        ({"method.depth.most": 1}, "method.depth has no options"),
        ({"training.lr": "fast"}, "lr is 'fast'"),
        ({"method.objective": {"kdl": {}}}, "kdl"),
    ],
)
def test_what_cannot_be_varied_is_refused_before_anything_runs(recipe, changes, named):
    with pytest.raises((ConfigError, ObjectiveError), match=named):
        cells_of(recipe, Factors(factors={"odd": {"one": changes}}))
    assert not recipe.out.exists()


def test_the_factors_of_the_package_fit_every_preset_they_are_meant_for(recipe):
    factors = read_factors(None)
    for method in ("student", "kld_contrastive"):
        cells = cells_of(recipe.model_copy(update={"method": method}), factors)
        assert len(cells) == len({c.name for c in cells}) == 29
    assert list(factors.only(["draw"]).factors) == ["draw"]
    with pytest.raises(ConfigError, match="no factor 'drawing'"):
        factors.only(["drawing"])


def test_a_file_of_no_factors(tmp_path):
    (tmp_path / "f.yaml").write_text("factor: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"f\.yaml: .*factors"):
        read_factors(tmp_path / "f.yaml")


def test_folds_hold_whole_conversations_once(animals, tmp_path):
    contexts = read_contexts(animals(tmp_path / "data") / "train.jsonl")
    folds = folds_of(contexts, 3)
    assert sorted(c.id for fold in folds for c in fold) == sorted(c.id for c in contexts)
    groups = [{c.group for c in fold} for fold in folds]
    assert all(not one & other for i, one in enumerate(groups) for other in groups[i + 1 :])
    with pytest.raises(ConfigError, match="4 judged conversations for 5 folds"):
        folds_of(contexts, 5)


def system(name: str, hits: dict[str, bool], flops: float, active: dict[str, float]) -> SystemResult:
    run = {query: {"d" if hit else "other": 1.0} for query, hit in hits.items()}
    return SystemResult(name, run, flops=dict.fromkeys(hits, flops), active=active)


def test_verdicts_front_and_turns_by_hand(recipe):
    queries = [f"q{i}" for i in range(100)]
    depth = {q: 1 if i % 2 else 7 for i, q in enumerate(queries)}
    active = {q: 30.0 if depth[q] == 7 else 20.0 for q in queries}
    base = dict.fromkeys(queries, True)
    worse = {q: i >= 60 for i, q in enumerate(queries)}
    shaky = {q: i >= 4 for i, q in enumerate(queries)}
    systems = [
        system(BASE, base, 4.0, active),
        system("same", base, 1.0, active),
        system("worse", worse, 2.0, active),
        system("shaky", shaky, 0.5, active),
    ]
    cells = [Cell(s.name, {} if s.name == BASE else {"penalty": s.name}, recipe) for s in systems]
    found = ablation_of(
        systems,
        cells,
        qrels={q: {"d": 1} for q in queries},
        depth=depth,
        group={q: q for q in queries},
        corpus=dict.fromkeys(queries, "c"),
        training={},
    )
    assert found.verdict(BASE) is None
    assert (found.verdict("same").says, found.verdict("same").reduction) == ("not inferior", 4.0)
    assert (found.verdict("worse").says, found.verdict("worse").reduction) == ("inferior", 2.0)
    assert found.verdict("shaky").says == "undecided"  # .04 below, between .08 and .01
    assert found.verdict("same").margin == pytest.approx(0.02)
    assert found.front() == ["shaky", "same"]
    assert found.late_over_first("same") == pytest.approx(1.5)
    assert found.factors() == {"penalty": [BASE, "same", "worse", "shaky"]}
    told = json.loads(found.to_json())
    assert told["verdicts"]["same"]["reduction"] == 4.0
    assert "undecided" in found.text()


def test_seeds_are_pooled_as_queries_of_their_own():
    jobs = [(seed, Job({"q": {"d": float(seed)}}, {"q": 3.0}, {"q": 1.0}, {})) for seed in (1, 2)]
    made = pooled("x", jobs)
    assert made.run == {seeded("q", 1): {"d": 1.0}, seeded("q", 2): {"d": 2.0}}
    assert made.active == {seeded("q", 1): 3.0, seeded("q", 2): 3.0}


def test_an_ablation_shares_keeps_and_reports(recipe, capsys):
    factors = Factors(factors={**TEMPERATURE, "gate": {"on": {"gate": True}}})
    found, report = run_ablation(recipe, factors, seeds=(1, 2))
    assert "encode corpus: 40 of 40" in capsys.readouterr().err
    assert found.comparison.systems == (BASE, "temperature 1", "temperature 2", "gate on", "untrained_gate")
    assert found.comparison.facts.queries == 6 * 2
    assert found.comparison.facts.conversations == 2
    assert found.comparison.cells["gate on"].keys() == found.comparison.cells[BASE].keys()
    assert found.comparison.cells["gate on"]["active"].mean == found.comparison.cells[BASE]["active"].mean
    kept = sorted((recipe.out / "ablation" / "jobs").iterdir())
    assert len(kept) == 6  # the fourth cell is the baseline
    page = report.read_text(encoding="utf-8")
    for word in ("temperature 2", "untrained_gate", "Run record", "<svg"):
        assert word in page
    assert "<script" not in page
    again, _ = run_ablation(recipe, factors, seeds=(1, 2))
    said = capsys.readouterr().err
    assert said.count("(kept)") == 8
    assert again.to_json() == found.to_json()


@pytest.mark.slow
def test_folds_measure_every_judged_turn_once_a_seed(recipe):
    found, _ = run_ablation(recipe, Factors(factors=TEMPERATURE), seeds=(1,), folds=2, quiet=True)
    assert found.comparison.facts.queries == 12 + 6
    assert len(list((recipe.out / "ablation" / "jobs").iterdir())) == 3 * 2


@pytest.mark.parametrize(
    ("more", "named"),
    [({"seeds": ()}, "seeds are none"), ({"seeds": (1, 1)}, "different numbers"), ({"folds": 1}, "folds is 1")],
)
def test_seeds_and_folds_out_of_range(recipe, more, named):
    with pytest.raises(ConfigError, match=named):
        run_ablation(recipe, Factors(factors=TEMPERATURE), quiet=True, **more)


@pytest.mark.slow
def test_a_killed_ablation_goes_on(animals, tmp_path, capsys):
    folder = animals(tmp_path / "data")
    options = {"out": "run", "corpus": "corpus.jsonl", "train": "train.jsonl", "dev": "dev.jsonl", "engine": "exact"}
    options["training"] = {"max_steps": 3, "batch_size": 6}
    (folder / "r.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    (folder / "f.yaml").write_text(yaml.safe_dump({"factors": TEMPERATURE}), encoding="utf-8")
    jobs = folder / "run" / "ablation" / "jobs"
    command = [sys.executable, "-m", "distillir.cli", "ablate", folder / "r.yaml", "--factors", folder / "f.yaml"]
    process = subprocess.Popen([*map(str, command), "--seeds", "1,2"], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and len(list(jobs.glob("*.json"))) < 2:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    done = len(list(jobs.glob("*.json")))
    assert done >= 2
    run_ablation(read_recipe(folder / "r.yaml"), read_factors(folder / "f.yaml"), seeds=(1, 2))
    assert capsys.readouterr().err.count("(kept)") == done
    assert len(list(jobs.glob("*.json"))) == 6


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_recipe_of_the_repository_is_read(path):
    kind = kind_of(path)
    recipe = kind.read(path)
    if hasattr(recipe, "check"):
        recipe.check()
    else:
        assert recipe.train_settings().epochs > 1
