"""`distillir ablate`, and the small recipes of the repository run whole."""

import json
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def folder(animals, tmp_path):
    return animals(tmp_path / "data")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["disco", "kld_contrastive"])
def test_the_small_recipes_run(folder, name, call):
    (folder / "r.yaml").write_bytes((RECIPES / "small" / f"{name}.yaml").read_bytes())
    code, out, _ = call("train", folder / "r.yaml", "--json")
    assert code == 0
    assert {row["system"] for row in json.loads(out)["comparison"]["systems"]} >= {"teacher", "student"}


def test_a_dry_run_lists_trainings_and_does_none(folder, call):
    (folder / "r.yaml").write_bytes((RECIPES / "small" / "kld_contrastive.yaml").read_bytes())
    code, out, _ = call("ablate", folder / "r.yaml", "--dry-run", "--seeds", "1,2", "--only", "temperature")
    assert code == 0
    assert out.splitlines() == [
        "baseline",
        *(f"temperature {t}" for t in ("0.5", "1", "2", "auto")),
        "10 trainings",
    ]
    assert not (folder / "run-kld-contrastive").exists()


def test_the_command_trains_and_reports(folder, call):
    (folder / "r.yaml").write_bytes((RECIPES / "small" / "kld_contrastive.yaml").read_bytes())
    (folder / "f.yaml").write_text("factors: {gate: {option: gate, levels: [false]}}\n", encoding="utf-8")
    code, out, _ = call("ablate", folder / "r.yaml", "--factors", folder / "f.yaml", "--seeds", "5", "--json")
    assert code == 0
    told = json.loads(out)
    assert [row["system"] for row in told["comparison"]["systems"]] == ["baseline", "gate False", "untrained_gate"]
    assert Path(told["report"]).is_file()
    code, out, _ = call("ablate", folder / "r.yaml", "--factors", folder / "f.yaml", "--seeds", "5")
    assert code == 0
    assert "Pareto front" in out


def test_seeds_that_are_none(folder, call):
    (folder / "r.yaml").write_bytes((RECIPES / "small" / "kld_contrastive.yaml").read_bytes())
    code, _, err = call("ablate", folder / "r.yaml", "--seeds", "one")
    assert code == 1
    assert "--seeds is 'one'" in err
