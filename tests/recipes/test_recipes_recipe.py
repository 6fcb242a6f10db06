"""Recipe files: what is read, what is refused, what is kept of them."""

import math

import pytest

from distillir.errors import ConfigError, DistillirError
from distillir.recipes import SparseRecipe, preset, read_recipe
from distillir.recipes.method import Method
from distillir.recipes.yaml_file import read_yaml

NEEDED = "out: run\ncorpus: c.jsonl\ntrain: a.jsonl\ndev: b.jsonl\n"


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str = "recipe.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_relative_paths_are_relative_to_the_recipe(written, tmp_path):
    (tmp_path / "start").mkdir()
    written("teachers: {me: 1}\n", "own.yaml")
    recipe = read_recipe(written(NEEDED + "test: /data/t.jsonl\nmodel: start\nmethod: own.yaml\nlabels: l.sqlite\n"))
    assert (recipe.out, recipe.corpus) == (tmp_path / "run", tmp_path / "c.jsonl")
    assert str(recipe.test) == "/data/t.jsonl"
    assert recipe.model == str(tmp_path / "start")
    assert recipe.labels == tmp_path / "l.sqlite"
    assert recipe.chosen_method().teachers == {"me": 1.0}


def test_a_model_id_stays_a_model_id(written):
    assert read_recipe(written(NEEDED + "model: some/model\n")).model == "some/model"


@pytest.mark.parametrize("number", ["1e-4", "1.0e-4", "0.0001", "1E-4", ".1e-3"])
def test_numbers_as_people_write_them(written, number):
    training = f"training: {{lr: {number}, lr_scale: {{gate.: 1e1}}}}\n"
    settings = read_recipe(written(NEEDED + training)).train_settings()
    assert settings.lr == 0.0001
    assert settings.lr_scale == {"gate.": 10.0}


@pytest.mark.parametrize("text", ["e4", "1e", "a1e4", "1.2.3e4", "v1e-4"])
def test_texts_stay_texts(written, text):
    assert read_yaml(written(f"key: {text}\n")) == {"key": text}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("epochs: 3\n", "epochs"),
        ("max_length: long\n", "max_length"),
        ("max_length: 2\n", "max_length"),
        ("document_length: 1\n", "document_length"),
        ("method: nothing\n", "nothing"),
        ("method: missing.yaml\n", "missing.yaml"),
        ("method: {objectives: {}}\n", "objectives"),
        ("method: {objective: {kld: }}\n", "objective"),
        ("method: {objective: {kdl: {}}}\n", "kdl"),
        ("method: {teachers: {}}\n", "teachers"),
        ("method: {teachers: {a: -1}}\n", "teachers"),
        ("method: {teachers: {a: .nan}}\n", "teachers"),
        ("method: {teachers: {untrained: 1}}\n", "teaches nothing"),
        ("method: {fusion: best}\n", "fusion"),
        ("method: {pool: collection, fusion: max}\n", "fusion: 'max'"),
        ("method: {penalties: {l1: -1}}\n", "penalties.l1"),
        ("method: {pool: collection, draw: {top: {n: 1}}}\n", "draw"),
        ("method: {pool: collection, score_rule: rank_11}\n", "score_rule"),
        ("method: {depth: 0}\n", "depth"),
        ("engine: elastic\n", "elastic"),
        ("training: {learning_rate: 1e-4}\n", "learning_rate"),
        ("training: {lr: fast}\n", "lr is 'fast'"),
        ("training: {lr: -1}\n", "lr is -1"),
        ("training: {epochs: 0}\n", "epochs is 0"),
        ("training: {batch_size: 1.5}\n", "batch_size is 1.5"),
        ("training: {precision: fp8}\n", "precision is 'fp8'"),
        ("training: {max_steps: -1}\n", "max_steps is -1"),
        ("training: {patience: -1}\n", "patience is -1"),
        ("training: {clip: .nan}\n", "clip is nan"),
        ("training: 3\n", "training"),
        ("out: elsewhere\n", "'out' is given twice"),
        ("a: [\n", "recipe.yaml:6"),
    ],
)
def test_a_bad_key_or_value_is_refused_by_name_in_one_line(written, more, named):
    with pytest.raises(DistillirError) as caught:
        read_recipe(written(NEEDED + more))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "out: run\n"])
def test_a_file_that_is_no_recipe(written, text):
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        read_recipe(written(text))


def test_unreadable_recipes(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("out: é\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_recipe(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="directory"):
        read_recipe(tmp_path)


def test_yaml_builds_no_objects(written):
    with pytest.raises(ConfigError, match="not YAML"):
        read_yaml(written("a: !!python/object/apply:os.getcwd []\n"))


def test_the_resolved_recipe_spells_everything_out(written):
    recipe = read_recipe(written(NEEDED + "method: disco\ntraining: {epochs: 2}\n"))
    resolved = recipe.resolved()
    assert resolved["method"] == preset("disco").model_dump(mode="json")
    assert resolved["training"]["epochs"] == 2
    assert resolved["training"]["batch_size"] == recipe.train_settings().batch_size
    assert resolved["training"]["seed"] == 13
    assert SparseRecipe.model_validate(resolved).resolved() == resolved  # it can be run again from its record


def test_a_method_can_be_named_by_its_path(written):
    method = preset(str(written("depth: 7\nobjective: {kld: {tau: 2e0}}\n", "m.yaml")))
    assert method == Method(depth=7, objective={"kld": {"tau": 2.0}})
    assert math.isclose(float(method.objective["kld"]["tau"]), 2.0)
