"""The response recipe on forty responses: what it asks for, both levels, threshold, index, what it refuses."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from distillir.conversation import Conversation
from distillir.data import Context, Response, ResponseRules, ResponseSet, read_contexts, read_responses, read_run
from distillir.errors import ConfigError, DataError, LabelError, ObjectiveError
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.objectives import KLD, InfoNCE
from distillir.recipes import ResponseRecipe, open_response_retriever, read_response_recipe, run_response
from distillir.recipes.response import start_of
from distillir.recipes.response_fit import join_labelled, score_labelled
from distillir.recipes.response_measure import ResponseTestBed, best
from distillir.recipes.response_recipe import response_preset
from distillir.students import ResponseStudent

RECIPES = Path(__file__).parents[2] / "recipes"
G2R = {
    "responders": ["respond"],
    "teacher": "likelihood",
    "objective": {"infonce": {"weight": 0.9, "own_list": False}, "kld": {"weight": 0.1, "shared": True}},
    "negatives": 6,
}


def recipe_of(folder, **more) -> ResponseRecipe:
    named = {name: folder / f"{name}.jsonl" for name in ("train", "dev", "test")}
    given = {"student": "response", "model": "splade-tiny", "out": folder / "run", "responses": folder / "corpus.jsonl"}
    size = {"max_length": 32, "response_length": 16, "training": {"epochs": 2, "batch_size": 4, "lr": 1e-3}}
    return ResponseRecipe(**{**given, **size, **named, "method": G2R, **more})


@pytest.fixture
def folder(animals, tmp_path):
    return animals(tmp_path / "data")


def put(folder, teacher: str, kind: str, values: dict) -> None:
    with LabelStore(folder / "run" / "labels.sqlite") as store:
        for name, value in values.items():
            request = LabelRequest(teacher, "model", "v1", {"context": name}, context_id=name)
            store.put(request, Label(kind, value, json.dumps(value)))


def responded(folder) -> None:
    contexts = read_contexts(folder / "train.jsonl")
    put(folder, "respond", "responses", {c.id: [{"text": f"I know {c.id.split('#')[0]}."}] for c in contexts})


def scored(folder) -> None:
    run = read_run(folder / "run" / "candidates.trec")
    put(folder, "likelihood", "scores", {q: {name: -len(name) / 5 for name in own} for q, own in run.items()})


def test_it_names_each_labelling_then_trains_indexes_and_answers(folder, capsys):
    recipe = recipe_of(folder, risk=0.5)
    with pytest.raises(LabelError, match=r"label respond .*train\.jsonl --store .* --name respond"):
        run_response(recipe, quiet=True)
    responded(folder)
    with pytest.raises(LabelError, match=r"label likelihood .*contexts\.jsonl .*candidates\.trec .*responses\.jsonl"):
        run_response(recipe, quiet=True)
    whole = read_responses(folder / "run" / "responses.jsonl")
    assert Counter(one.origins for one in whole) == {("gold",): 40, ("respond",): 4}  # four animals, three turns each
    assert {len(own) for own in read_run(folder / "run" / "candidates.trec").values()} == {2}
    scored(folder)
    run = run_response(recipe)
    assert run.student.fingerprint() != start_of(recipe).fingerprint()
    assert run.training.steps == 6
    assert ResponseStudent.from_pretrained(run.out / "student").fingerprint() == run.student.fingerprint()
    assert list(run.comparison.systems) == ["untrained", "student"]
    assert run.report.is_file()
    record = json.loads((run.out / "run.json").read_text(encoding="utf-8"))
    assert (record["data"]["gold"], record["data"]["generated"], record["data"]["contexts"]) == (40, 4, 12)
    assert set(record["responses"]["student"]) == {"hits@1/10", "Dist-2", "Dist-3", "words"}
    capsys.readouterr()
    assert run_response(recipe).student.fingerprint() == run.student.fingerprint()
    said = capsys.readouterr().err
    assert "student of 6 steps reused" in said
    assert "index:" not in said

    told = json.loads((run.out / "threshold.json").read_text(encoding="utf-8"))
    with open_response_retriever(run.out) as chat:
        assert chat.threshold == told["threshold"]
        dev = read_contexts(folder / "dev.jsonl")
        wrong = [f[0].id not in c.relevant for c in dev if (f := chat.respond(c.conversation))]
        assert not wrong or np.mean(wrong) <= 0.5  # the risk asked for, on what it was calibrated on
        chat.threshold = -np.inf
        found = chat.respond(dev[0].conversation, 3, {"origins": "respond"})
        assert len(found) == 3
        assert all(one.text.startswith("I know") for one in found)


@pytest.mark.slow
def test_pairs_alone_need_no_teacher_and_learn(folder):
    training = {"epochs": 10, "batch_size": 6, "lr": 2e-3, "evaluate_every": 100, "keep_best": False}
    recipe = recipe_of(folder, method="pairs", training=training, test=None, towers=2)
    run = run_response(recipe, quiet=True)
    assert run.comparison is None
    assert run.student.responses is not None
    bed = ResponseTestBed.of(
        read_contexts(folder / "train.jsonl"), read_responses(folder / "corpus.jsonl"), 40, "train"
    )
    before, after = (bed.measure(s)[1]["hits@1/10"] for s in (start_of(recipe), run.student))
    assert after > max(before, 0.8)
    assert json.loads((run.out / "threshold.json").read_text(encoding="utf-8"))["threshold"] is None


@pytest.mark.slow
def test_changed_responses_train_and_index_anew(folder):
    recipe = recipe_of(folder, method="pairs", test=None)
    first = run_response(recipe, quiet=True)
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8")
    extra = json.dumps({"_id": "new", "text": "Ask the keeper."})
    (folder / "corpus.jsonl").write_text(f"{lines}{extra}\n", encoding="utf-8")
    second = run_response(recipe, quiet=True)
    assert second.student.fingerprint() != first.student.fingerprint()
    with open_response_retriever(recipe.out) as chat:
        assert len(chat.index) == 41


def test_scores_are_joined_by_id_and_contexts_without_are_counted():
    responses = ResponseSet([Response("a", "yes"), Response("b", "no"), Response("c", "maybe")])
    asked = Conversation.from_pairs([], "well ?")
    golds = {"q1": ("a", "b"), "q2": ("c",), "q3": ()}
    chats = [Context(name, asked, relevant=dict.fromkeys(own, 1)) for name, own in golds.items()]
    labelled = join_labelled(responses, chats, {"m": {"q2": ["Who knows."]}}, ResponseRules())
    assert [one.tolist() for one in labelled.positives] == [[0, 1], [2, 3]]
    assert (labelled.golds, labelled.scores) == (3, None)
    made = score_labelled(labelled, {"q1": {"b": -1.0, "c": -3.0, "gone": 0.0}, "elsewhere": {"a": 0.0}})
    assert [c.id for c in made.contexts] == ["q1"]
    assert made.scores == ({1: -1.0},)
    assert made.left_out == {"context: without a response": 1, "context: without a score": 1}
    with pytest.raises(LabelError, match="other responses"):
        score_labelled(labelled, {"q9": {"a": 1.0}})
    with pytest.raises(DataError, match="none has a response"):
        join_labelled(responses, chats[2:], {}, ResponseRules())


def test_the_best_are_those_of_a_matrix_product():
    rng = np.random.default_rng(0)
    asked, said = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(30, 8)).astype(np.float32)
    rows, scores = best(asked, said, 4)
    order = np.argsort(-(asked @ said.T), axis=1)[:, :4]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(scores, np.take_along_axis(asked @ said.T, order, 1), rtol=1e-5)
    assert best(asked, said, 100)[0].shape == (5, 30)


def test_presets_are_the_levels_of_the_paper():
    terms = response_preset("g2r").build_objective().terms
    assert [(weight, type(one)) for weight, one in terms] == [(0.9, InfoNCE), (0.1, KLD)]
    assert (terms[0][1].own_list, terms[1][1].shared) == (False, True)
    assert not response_preset("g2r_data").taught
    assert response_preset("g2r_data").responders == ["respond"]
    assert response_preset("pairs").responders == []
    with pytest.raises(ConfigError, match="no preset"):
        response_preset("g3r")


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_the_recipes_of_the_repository_are_recipes(scale, monkeypatch):
    monkeypatch.setattr(ResponseRecipe, "student_settings", lambda self: None)  # its model is not here
    recipe = read_response_recipe(RECIPES / scale / "g2r.yaml")
    assert recipe.chosen_method().taught
    assert recipe.responses.parent == RECIPES / scale


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"method": {**G2R, "teacher": ""}}, ConfigError, "names none"),
        ({"method": {"objective": {"ranknet": {}}}}, ConfigError, "order"),
        ({"method": {"objective": {"kld": {"shared": True, "tau": "entropy"}}, "teacher": "m"}}, ObjectiveError, "ent"),
        ({"training": {"lr": "fast"}}, ConfigError, "lr"),
        ({"shortest": 9, "longest": 5}, ConfigError, "9 to 5"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(folder, options, error, why):
    with pytest.raises(error, match=why):
        run_response(recipe_of(folder, **options), quiet=True)
    assert not (folder / "run").exists()


def test_sets_and_contexts_that_do_not_belong_together_are_refused(folder):
    (folder / "corpus.jsonl").write_text('{"_id": "x", "text": "y"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="none has a response of the set"):
        run_response(recipe_of(folder, method="pairs"), quiet=True)
    with pytest.raises(DataError, match="not a finished run"):
        open_response_retriever(folder / "run")
