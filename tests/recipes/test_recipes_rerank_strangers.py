"""Random passages behind lists, and a first stage of cropped sentences."""

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Context, read_contexts, write_run
from distillir.errors import ConfigError
from distillir.recipes.rerank import run_rerank
from distillir.recipes.rerank_fit import RerankLabelled
from distillir.recipes.rerank_recipe import RerankRecipe, rerank_preset
from distillir.recipes.rerank_strangers import with_strangers
from distillir.sampling import RankedPool, Ranking

FIRST = {
    "objective": {"infonce": {}},
    "queries": "crops",
    "strangers": 20,
    "gold": "one",
    "draw": {"log_uniform": {"n": 3, "last": 20}},
}


def labelled(lists: dict[str, list[int]], golds: dict[str, list[int]]) -> RerankLabelled:
    rankings = [(n, Ranking(np.array(p, np.int64), -np.arange(len(p), dtype=np.float32))) for n, p in lists.items()]
    contexts = tuple(Context(name, Conversation.from_pairs([], "q"), relevant={}, source="s") for name in lists)
    known = tuple(np.array(golds.get(name, []), np.int64) for name in lists)
    return RerankLabelled(contexts, RankedPool.build(rankings), known, tuple({} for _ in lists))


def test_strangers_stand_behind_what_was_found_and_are_neither_gold_nor_listed():
    given = labelled({"a": [4, 2], "b": [4, 2]}, {"a": [9]})
    made = with_strangers(given, 1000, 50, seed=1)
    for name in ("a", "b"):
        positions = made.pool[name].positions.tolist()
        assert positions[:2] == [4, 2]
        assert 40 < len(positions) == len(set(positions)) <= 52
        assert max(positions) < 1000
    assert 9 not in made.pool["a"].positions
    assert made.pool["a"].positions.tolist() != made.pool["b"].positions.tolist()
    assert made.golds is given.golds
    again = with_strangers(given, 1000, 50, seed=1)
    assert again.pool["a"].positions.tolist() == made.pool["a"].positions.tolist()
    assert with_strangers(given, 1000, 50, seed=2).pool["a"].positions.tolist() != made.pool["a"].positions.tolist()
    alone = with_strangers(given, 1000, 50, seed=1, alone=True)
    assert alone.pool["a"].positions.tolist() == made.pool["a"].positions.tolist()[2:]


def test_of_a_small_corpus_all_others_come_once():
    made = with_strangers(labelled({"a": [0, 1]}, {"a": [3]}), 5, 50)
    assert made.pool["a"].positions[:2].tolist() == [0, 1]
    assert sorted(made.pool["a"].positions.tolist()) == [0, 1, 2, 4]


def recipe_of(folder, stage: dict, **more) -> RerankRecipe:
    size = {"max_length": 32, "passage_length": 24, "training": {"epochs": 1, "batch_size": 2}}
    given = {"student": "reranker", "model": "splade-tiny", "corpus": folder / "corpus.jsonl", "out": folder / "run"}
    return RerankRecipe(**given, **size, method={"depth": 4, "stages": [stage]}, **more)


def test_a_first_stage_reads_cropped_sentences_alone_and_needs_no_label(animals, tmp_path):
    folder = animals(tmp_path / "data")
    run = run_rerank(recipe_of(folder, FIRST, crops=4, train=folder / "train.jsonl"), quiet=True)
    assert run.training.steps == 2  # the twelve turns of train would make it eight


def test_the_preset_of_encoders_begins_so_and_goes_on_as_rerank(animals, tmp_path):
    first, *others = rerank_preset("encoder").stages
    assert (first.queries, first.strangers, first.taught) == ("crops", 40, False)
    assert [s.objective for s in others] == [s.objective for s in rerank_preset("rerank").stages]
    folder = animals(tmp_path / "data")
    write_run(folder / "teacher.trec", {c.id: {"otter-food": 1.0} for c in read_contexts(folder / "train.jsonl")})
    recipe = recipe_of(folder, FIRST, crops=4, train=folder / "train.jsonl", teacher_run=folder / "teacher.trec")
    recipe = recipe.model_copy(update={"method": "encoder", "training": {"max_steps": 1, "batch_size": 2}})
    assert run_rerank(recipe, quiet=True).training.steps == 3


@pytest.mark.parametrize(
    ("stage", "more", "reason"),
    [
        (FIRST, {"queries": "queries.tsv"}, "cropped sentences, and there are none"),
        ({"objective": {"ranknet": {}}, "strangers": 5}, {"crops": 6}, "no teacher speaks of random passages"),
    ],
)
def test_stages_that_cannot_be_are_refused_at_once(animals, tmp_path, stage, more, reason):
    folder = animals(tmp_path / "data")
    with pytest.raises(ConfigError, match=reason):
        run_rerank(recipe_of(folder, stage, **more), quiet=True)
