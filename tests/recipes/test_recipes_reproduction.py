"""Published figures, and every method's experiment on a toy release in its owners' layout (slow)."""

import json
from pathlib import Path

import pytest
import yaml

import releases
from distillir.data import read_contexts, read_documents, read_run
from distillir.data.official import DATA_SETS
from distillir.data.official.matching import hits_at, holds, words
from distillir.errors import ConfigError, DataError, EvaluationError, LabelError
from distillir.evaluation import evaluate
from distillir.labels import Label, LabelRequest, LabelStore
from distillir.recipes import kind_of, plan_reproduction, published, read_published, reproduce
from distillir.recipes.published_figures import recipes_folder
from distillir.recipes.reproduction import Reproduction, Row

# Published figures


def test_every_method_has_figures_a_recipe_and_a_data_set_and_none_is_said_to_be_reproduced():
    known = read_published()
    assert list(known) == ["disco", "kld_contrastive", "dgr", "g2r", "twolar"]
    for method, entry in known.items():
        assert entry.data in DATA_SETS
        assert method in DATA_SETS[entry.data].methods
        assert kind_of(recipes_folder() / entry.recipe)
        assert not entry.reproduced
        assert entry.labels
    student = published("disco").figures[0]
    assert student.values == {"R@100": 0.879, "R@10": 0.676, "RR": 0.409, "nDCG@3": 0.396}
    assert published("g2r").figures[0].values == {"R@1": None, "RR": None}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"values": {"R@": 0.1}}, "unknown measure"),
        ({"by": "answers", "values": {"R@5": 0.1}}, "no measure of answers"),
        ({"by": "magic"}, "by"),
        ({"value": 1}, "value"),
        ({"values": {}}, "values"),
    ],
)
def test_figures_that_cannot_be_are_refused(tmp_path, change, why):
    figure = {"system": "student", "judged": "q.tsv", "values": {"R@5": 0.5}, **change}
    path = tmp_path / "published.yaml"
    entry = {"paper": "p", "arxiv": "1", "recipe": "r.yaml", "data": "nq", "figures": [figure]}
    path.write_text(yaml.safe_dump({"m": entry}), encoding="utf-8")
    with pytest.raises((ConfigError, EvaluationError), match=why):
        read_published(path)
    path.write_text("- a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no methods in it"):
        read_published(path)


def test_the_table_has_published_ours_and_the_difference(tmp_path):
    rows = (Row("student", "R@10", 0.7, 0.65, "n"), Row("student", "RR", None, 0.5, ""))
    made = Reproduction("disco", tmp_path, rows, ("not the paper's recipe: r.yaml",))
    lines = made.text().splitlines()
    assert lines[1].split() == ["student", "R@10", "0.700", "0.650", "-0.050", "n"]
    assert lines[2].split() == ["student", "RR", "–", "0.500", "–"]
    assert lines[3] == "note: not the paper's recipe: r.yaml"
    assert made.to_dict()["rows"][0]["difference"] == pytest.approx(-0.05)
    assert made.to_dict()["rows"][1]["difference"] is None
    lacking = Reproduction("disco", tmp_path, (Row("teacher", "RR", 0.4, None, ""),), ())
    assert lacking.text().splitlines()[1].split() == ["teacher", "RR", "0.400", "–", "–"]


def test_a_plan_of_another_recipe_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such recipe"):
        plan_reproduction("disco", tmp_path, tmp_path / "out", tmp_path / "none.yaml")
    with pytest.raises(DataError, match="topiocqa lacks"):
        reproduce("disco", tmp_path, tmp_path / "out")


# Answers in passages


def test_words_are_letters_digits_and_marks_together_and_the_rest_alone():
    assert words("Aaron's, ÉTÉ 1.5\t(x)") == ["aaron", "'", "s", ",", "e\u0301te\u0301", "1", ".", "5", "(", "x", ")"]


def test_an_answer_is_held_where_its_words_follow_each_other():
    assert holds("It was the NILE river.", ["amazon", "nile River"])
    assert not holds("the river Nile", ["nile river"])
    assert not holds("twentyfive", ["twenty"])
    assert holds("Beyonce\u0301 sang", ["Beyoncé"])
    assert not holds("anything", ["", " "])


def test_hits_count_every_question():
    ranked = {"a": ["no", "the nile"], "b": ["nothing"]}
    answers = {"a": ["Nile"], "b": ["x"], "c": ["y"]}
    assert hits_at(ranked, answers, 1) == 0.0
    assert hits_at(ranked, answers, 2) == pytest.approx(1 / 3)


# Toy releases of the animals


@pytest.fixture
def animals_of(animals, tmp_path):
    """Documents and contexts by split, and a folder for the release."""
    folder = animals(tmp_path / "animals")
    documents = [document for _, document in read_documents(folder / "corpus.jsonl")]
    return documents, {name: read_contexts(folder / f"{name}.jsonl") for name in ("train", "dev", "test")}


def recipe(tmp_path, **options) -> Path:
    path = tmp_path / "toy.yaml"
    given = {"out": "run", "corpus": "corpus.jsonl", "model": "splade-tiny"}
    path.write_text(yaml.safe_dump({**given, **options}), encoding="utf-8")
    return path


SPLITS = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}


def put(store: Path, teacher: str, kind: str, values: dict) -> None:
    with LabelStore(store) as opened:
        for name, value in values.items():
            raw = value if isinstance(value, str) else json.dumps(value)
            request = LabelRequest(teacher, "model", "v1", {"context": name}, context_id=name)
            opened.put(request, Label(kind, value, raw))


def turned_round(run: Path) -> dict[str, list[str]]:
    return {query: sorted(scores, key=scores.get) for query, scores in read_run(run).items()}


def topiocqa_of(folder, documents, contexts) -> Path:
    def rows(given, number):
        turns, golds = [], []
        for c in given:
            said = [turn.content for turn in c.conversation.turns]
            place = {"Conversation_no": number[c.group], "Turn_no": c.conversation.depth}
            turns.append({**place, "Question": said[-1], "Answer": "a", "Context": said[:-1]})
            positives = [{"passage_id": name} for name in c.relevant]
            golds.append({"conv_id": place["Conversation_no"], "turn_id": place["Turn_no"], "positive_ctxs": positives})
        return turns, golds

    groups = {name: list(dict.fromkeys(c.group for c in given)) for name, given in contexts.items()}
    numbers = {group: i for i, group in enumerate(groups["train"], 1)}
    numbers |= {group: 50 * i for i, group in enumerate(groups["dev"], 1)}  # which are held out
    turns, golds = rows([*contexts["train"], *contexts["dev"]], numbers)
    releases.array(folder / "topiocqa_train.json", *turns)
    releases.array(folder / "gold_train.json", *golds)
    turns, golds = rows(contexts["test"], {group: i for i, group in enumerate(groups["test"], 900)})
    releases.array(folder / "topiocqa_dev.json", *turns)
    releases.array(folder / "gold_dev.json", *golds)
    table = "".join(f"{d.id}\t{d.text}\t{d.title}\n" for d in documents)
    releases.put(folder / "full_wiki_segments.tsv", f"id\ttext\ttitle\n{table}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", ["disco", "kld_contrastive"])
def test_the_conversational_methods_end_to_end(animals_of, tmp_path, method):
    source, out = topiocqa_of(tmp_path / "release", *animals_of), tmp_path / "out"
    options = yaml.safe_load((recipes_folder() / published(method).recipe).read_text(encoding="utf-8"))
    if isinstance(options["method"], dict):
        options["method"]["draw"] = {"uniform_band": {"n": 4, "first": 2, "last": 30}}
        options["method"]["score_rule"] = "true"
    else:
        options["method"] = {"teachers": {"llm": 1.0}, "draw": {"uniform_band": {"n": 4, "first": 2, "last": 30}}}
    training = {"epochs": 1, "batch_size": 6}
    toy = recipe(tmp_path, **{**options, "out": "run", "model": "splade-tiny", "training": training, "engine": "exact"})
    with pytest.raises(DataError, match="40 rows where the release has"):
        reproduce(method, source, out, recipe=toy, quiet=True)
    with pytest.raises(DataError, match="no context has a rewrite by llm"):
        reproduce(method, source, out, recipe=toy, partial=True, quiet=True)
    contexts = [c for name in ("train", "test") for c in read_contexts(out / f"{name}.jsonl")]
    said = {c.id: f"{c.conversation.turns[0].content} {c.conversation.question}" for c in contexts}
    put(out / "run" / "labels.sqlite", "llm", "rewrite", said)
    made = reproduce(method, source, out, recipe=toy, partial=True, quiet=True)
    assert all(row.ours is not None for row in made.rows)
    assert {row.system for row in made.rows} == {figure.system for figure in published(method).figures}
    for row in made.rows:
        run = read_run(out / "run" / "runs" / f"{row.system}.trec")
        qrels = {c.id: dict(c.relevant) for c in read_contexts(out / "test.jsonl")}
        assert row.ours == pytest.approx(evaluate(run, qrels, [row.measure]).means[row.measure])
    assert "not the paper's recipe" in made.remarks[0]
    assert "not the whole release: corpus.jsonl: 40 rows" in made.text()
    assert json.loads((out / "reproduction.json").read_text(encoding="utf-8")) == made.to_dict()


@pytest.mark.slow
def test_generative_retrieval_end_to_end(animals_of, tiny_writer, tmp_path):
    documents, contexts = animals_of
    source, out = tmp_path / "release", tmp_path / "out"
    table = "".join(f"{d.id}\t{d.text}\t{d.title}\n" for d in documents)
    releases.put(source / "psgs_w100.tsv", f"id\ttext\ttitle\n{table}")
    for name in ("train", "dev"):
        rows = [
            {
                "question": c.rewrites["human"],
                "answers": ["a"],
                "positive_ctxs": [{"passage_id": p} for p in c.relevant],
            }
            for c in contexts[name]
        ]
        releases.array(source / f"biencoder-nq-{name}.json", *rows)
    texts = {d.id: d.text for d in documents}
    asked = [(c.rewrites["human"], texts[next(iter(c.relevant))]) for c in contexts["test"]]
    releases.put(source / "nq-test.qa.csv", "".join(f"{question}\t['{text}']\n" for question, text in asked))
    learn = {
        "objective": {"likelihood": {}},
        "spans": 2,
        "training": {"epochs": 4, "batch_size": 4, "lr": 1e-2, "keep_best": False, "evaluate_every": 1000},
    }
    rank = {
        "objective": {"rank_gap": {"gold_first": True, "relative": True, "margin": 0.2}, "likelihood": {"weight": 0.5}},
        "draw": {"uniform_band": {"n": 3, "first": 1, "last": 10}},
        "gold": "one",
        "training": {"max_steps": 2, "batch_size": 2, "lr": 1e-3, "evaluate_every": 1000},
    }
    method = {"learn": learn, "rank": rank, "depth": 20}
    size = {"max_length": 40, "beams": 5, "smoothing": 0.5}
    toy = recipe(tmp_path, student="generative", **{**SPLITS, **size, "model": str(tiny_writer), "method": method})
    with pytest.raises(LabelError, match="label the student's lists"):
        reproduce("dgr", source, out, recipe=toy, partial=True, quiet=True)
    put(out / "run" / "labels.sqlite", "listwise", "order", turned_round(out / "run" / "candidates.trec"))
    made = reproduce("dgr", source, out, recipe=toy, partial=True, quiet=True)
    assert [row.published for row in made.rows] == [0.688, 0.658]
    run = read_run(out / "run" / "runs" / "student.answers.answers.test.trec")
    ranked = {q: [texts[d] for d in sorted(found, key=found.get, reverse=True)[:5]] for q, found in run.items()}
    right = [any(holds(text, [said]) for text in ranked.get(f"test-{i}", [])) for i, (_, said) in enumerate(asked)]
    assert made.rows[0].ours == pytest.approx(sum(right) / len(right))


@pytest.mark.slow
def test_responses_end_to_end(animals_of, tmp_path):
    documents, contexts = animals_of
    source, out = tmp_path / "release", tmp_path / "out"
    texts = {d.id: d.text for d in documents}
    for name, file in (("train", "train"), ("dev", "valid"), ("test", "test")):
        rows = []
        for c in contexts[name]:
            start = {
                "personas": [["i am."], ["i know animals."]],
                "context_dataset": "convai2",
                "additional_context": "",
            }
            said = {"free_turker_utterance": "hi", "guided_turker_utterance": "hello"}
            dialog = [[0, c.rewrites["human"]], [1, texts[next(iter(c.relevant))]]]
            rows.append({**start, **said, "dialog": dialog})
        releases.array(source / f"{file}.json", *rows)
    method = {
        "responders": ["respond"],
        "teacher": "likelihood",
        "objective": {"infonce": {"weight": 0.9, "own_list": False}, "kld": {"weight": 0.1, "shared": True}},
        "negatives": 6,
    }
    size = {"max_length": 32, "response_length": 16, "training": {"epochs": 1, "batch_size": 4, "lr": 1e-3}}
    path = tmp_path / "toy.yaml"
    given = {"student": "response", "out": "run", "responses": "responses.jsonl", "model": "splade-tiny"}
    path.write_text(yaml.safe_dump({**given, **SPLITS, **size, "labels": "labels.sqlite", "method": method}))
    with pytest.raises(LabelError, match="distillir label respond"):
        reproduce("g2r", source, out, recipe=path, partial=True, quiet=True)
    train = read_contexts(out / "train.jsonl")
    put(out / "labels.sqlite", "respond", "responses", {c.id: [{"text": f"I know {c.id}."}] for c in train})
    with pytest.raises(LabelError, match="distillir label likelihood"):
        reproduce("g2r", source, out, recipe=path, partial=True, quiet=True)
    own = read_run(out / "run" / "candidates.trec")
    put(out / "labels.sqlite", "likelihood", "scores", {q: dict.fromkeys(found, -1.0) for q, found in own.items()})
    made = reproduce("g2r", source, out, recipe=path, partial=True, quiet=True)
    assert [row.measure for row in made.rows] == ["R@1", "RR"]
    assert all(0 <= row.ours <= 1 and row.published is None for row in made.rows)


@pytest.mark.slow
def test_reranking_end_to_end(animals_of, tmp_path):
    documents, contexts = animals_of
    source, out = tmp_path / "release", tmp_path / "out"
    releases.put(source / "collection.tsv", "".join(f"{d.id}\t{d.title} {d.text}\n" for d in documents))
    for year, given in (("2019", contexts["dev"]), ("2020", contexts["test"])):
        rows = [(f"{year}{i}", c) for i, c in enumerate(given)]
        releases.put(
            source / f"msmarco-test{year}-queries.tsv", "".join(f"{q}\t{c.rewrites['human']}\n" for q, c in rows)
        )
        judged = "".join(f"{q} Q0 {d} {grade + 1}\n" for q, c in rows for d, grade in c.relevant.items())
        releases.put(source / f"{year}qrels-pass.txt", judged)
    method = {"teacher": "listwise", "depth": 6, "stages": [{"objective": {"ranknet": {}}, "training": {"lr": 2e-5}}]}
    training = {"max_steps": 2, "batch_size": 2, "accumulate": 1}
    size = {"max_length": 32, "passage_length": 24, "training": training}
    toy = recipe(tmp_path, student="reranker", crops=6, method=method, **size)
    with pytest.raises(LabelError, match="label listwise"):
        reproduce("twolar", source, out, recipe=toy, partial=True, quiet=True)
    put(out / "run" / "labels.sqlite", "listwise", "order", turned_round(out / "run" / "candidates.trec"))
    made = reproduce("twolar", source, out, recipe=toy, partial=True, quiet=True)
    assert [(row.measure, row.published) for row in made.rows] == [("nDCG@10", 0.735), ("nDCG@10", 0.708)]
    for row, year in zip(made.rows, ("2019", "2020"), strict=True):
        run = read_run(out / "run" / "runs" / f"student.rerank.qrels.dl{year}.trec")
        assert set(run) == {c.id for c in read_contexts(out / "test.jsonl") if c.source == f"dl{year}"}
        qrels = {c.id: dict(c.relevant) for c in read_contexts(out / "test.jsonl") if c.id in run}
        assert row.ours == pytest.approx(evaluate(run, qrels, ["nDCG@10"]).means["nDCG@10"])
