"""Every data set's loader on a small release of our own in its owners' layout, malformed rows included."""

import json

import pytest

import releases
from distillir.data import read_contexts, read_documents, read_qrels, read_responses
from distillir.data.official import DATA_SETS, data_set, prepare
from distillir.errors import DataError


def prepared(name, source, out, **more):
    return prepare(data_set(name), source, out, partial=True, **more)


def said(context):
    return [turn.content for turn in context.conversation.turns]


def corpus(folder):
    return {d.id: (d.title, d.text) for _, d in read_documents(folder / "corpus.jsonl")}


def break_row(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def refused(name, source, out, why):
    with pytest.raises(DataError, match=why):
        prepared(name, source, out)


def test_topiocqa(tmp_path):
    source, out = releases.topiocqa(tmp_path / "s"), tmp_path / "o"
    done = prepared("topiocqa", source, out)
    assert done.rows == {"corpus.jsonl": 4, "train.jsonl": 2, "dev.jsonl": 1, "test.jsonl": 1, "qrels.test.tsv": 1}
    assert corpus(out)["1"] == ("Dune", 'Dune is by "Frank" Herbert')
    first, second = read_contexts(out / "train.jsonl")
    assert (second.id, second.group, second.relevant) == ("1_2", "1", {"2": 1})
    assert said(second) == ["who wrote dune", "frank herbert", "when?"]
    assert first.conversation.depth == 1
    assert [c.id for c in read_contexts(out / "dev.jsonl")] == ["50_1"]
    assert read_qrels(out / "qrels.test.tsv") == {"1_1": {"4": 1}}
    golds = source / "data/retriever/all_history/train.json"
    break_row(golds, '"turn_id": 2', '"turn_id": 3')
    refused("topiocqa", source, out, r"train\.json: no turn '1_2', which topiocqa_train\.json has")
    break_row(golds, '"passage_id": "1"', '"pid": "1"')
    refused("topiocqa", source, out, r"train\.json:2: turn 1_1: a gold passage without 'passage_id'")
    break_row(source / "topiocqa_train.json", '"Question": "who wrote dune"', '"Q": "who wrote dune"')
    releases.topiocqa(tmp_path / "t")
    break_row(tmp_path / "t" / "topiocqa_train.json", '"Question": "who wrote dune"', '"Q": "who"')
    refused("topiocqa", tmp_path / "t", tmp_path / "p", r"topiocqa_train\.json:2: missing field 'Question'")
    (tmp_path / "t" / "full_wiki_segments.tsv").write_text("1\ttext\n", encoding="utf-8")
    refused("topiocqa", tmp_path / "t", tmp_path / "q", r"full_wiki_segments\.tsv:1: 2 columns where a row has 3")
    (tmp_path / "t" / "full_wiki_segments.tsv").write_text('1\ta\t"A\n2\tb\tB\n', encoding="utf-8")
    refused("topiocqa", tmp_path / "t", tmp_path / "q", r"full_wiki_segments\.tsv:1: a quotation mark is not closed")


def test_qrecc_puts_the_first_rewrite_in_place_of_the_first_question(tmp_path):
    source, out = releases.qrecc(tmp_path / "s"), tmp_path / "o"
    prepared("qrecc", source, out)
    assert set(corpus(out)) == {"p0", "p1", "p2", "http://a b/_p0"}
    (source / "passages" / "wayback" / ".hidden").write_text("no passages", encoding="utf-8")
    assert "corpus.jsonl" in prepared("qrecc", source, out).reused
    first, second = read_contexts(out / "train.jsonl")
    assert (first.id, first.relevant, first.domain) == ("train1_1", {"http://a b/_p0": 1}, "")
    assert said(first) == ["What happened to Dune?"]
    assert said(second) == ["What happened to Dune?", "a", "And then?"]
    assert second.rewrites == {"human": "What happened then?"}
    assert second.relevant == {}
    assert [c.id for c in read_contexts(out / "dev.jsonl")] == ["train50_1"]
    assert read_qrels(out / "qrels.test.tsv") == {"test1_1": {"http://c/_p1": 1}}
    turns = source / "scai-qrecc21-training-turns.json"
    break_row(turns, '      "What happened?",\n', '      "What happened?", "twice",\n')
    refused("qrecc", source, out, r"training-turns\.json:\d+: the history has 3 utterances")
    break_row(turns, '"Truth_passages": [\n', '"Passages": [\n')
    refused("qrecc", source, out, "missing field 'Truth_passages'")


def test_orquac(tmp_path):
    source, out = releases.orquac(tmp_path / "s"), tmp_path / "o"
    prepared("orquac", source, out)
    assert corpus(out) == {"1@0": ("Dune", "Dune is by Herbert")}
    first, second = read_contexts(out / "train.jsonl")
    assert (second.id, second.group, second.relevant) == ("C_a_q#1", "C_a", {"1@0": 1})
    assert said(second) == ["what is dune", "a book", "by whom"]
    assert second.rewrites == {"human": "who wrote dune"}
    assert first.relevant == {}
    assert read_qrels(out / "qrels.test.tsv") == {"C_test_q#0": {"1@0": 1}}
    break_row(source / "preprocessed/train.txt", '"answer": {"text"', '"answer": {"span"')
    refused("orquac", source, out, r"train\.txt:2: missing field 'text'")


def test_canard_leaves_article_and_section_out(tmp_path):
    source, out = releases.canard(tmp_path / "s"), tmp_path / "o"
    prepared("canard", source, out)
    first, second = read_contexts(out / "train.jsonl")
    assert said(first) == ["What group?"]
    assert said(second) == ["What group?", "Mothers", "When?"]
    assert (second.id, second.group, second.rewrites) == ("C_train#2", "C_train", {"human": "When did they?"})
    break_row(source / "dev.json", '"Zappa",\n', "")
    refused("canard", source, out, r"dev\.json:2: the history lacks article and section")


def test_msmarco_with_both_tracks(tmp_path):
    source, out = releases.msmarco(tmp_path / "s"), tmp_path / "o"
    prepared("msmarco", source, out)
    assert corpus(out)["0"] == ("", 'The "presence" of')
    assert [(c.id, c.relevant) for c in read_contexts(out / "train.jsonl")] == [("10", {"1": 1})]
    one, two = read_contexts(out / "test.jsonl")
    assert (one.id, one.source, one.relevant) == ("20191", "dl2019", {"0": 3})
    assert two.source == "dl2020"
    assert read_qrels(out / "qrels.dl2019.tsv") == {"20191": {"0": 3, "1": 0}}
    break_row(source / "collection.tsv", "1\tbasal", "1 basal")
    refused("msmarco", source, out, r"collection\.tsv:2: 1 columns where a row has 2")
    releases.msmarco(source)
    break_row(source / "2020qrels-pass.txt", " 3\n", " three\n")
    refused("msmarco", source, out, r"2020qrels-pass\.txt:1: the grade 'three' is not an integer")


def test_msmarco_needs_no_training_queries(tmp_path):
    source = releases.msmarco(tmp_path / "s")
    for name in ("queries.train.tsv", "qrels.dev.small.tsv"):
        (source / name).unlink()
    assert set(prepared("msmarco", source, tmp_path / "o").rows) == {
        "corpus.jsonl", "test.jsonl", "qrels.dl2019.tsv", "qrels.dl2020.tsv",
    }  # fmt: skip


def test_beir(tmp_path):
    source, out = releases.beir(tmp_path / "toy"), tmp_path / "o"
    done = prepared("beir", source, out)
    assert set(done.rows) == {"corpus.jsonl", "test.jsonl", "qrels.test.tsv", "train.jsonl", "qrels.train.tsv"}
    (context,) = read_contexts(out / "test.jsonl")
    assert (context.id, context.relevant, context.source) == ("q1", {"d1": 2}, "toy")
    assert read_qrels(out / "qrels.test.tsv") == {"q1": {"d1": 2, "d2": 0}}
    releases.beir(tmp_path / "scifact")
    refused("beir", tmp_path / "scifact", tmp_path / "p", r"corpus\.jsonl: 2 documents where the release has 5,183")
    break_row(source / "queries.jsonl", '"text": "asked"', '"query": "asked"')
    refused("beir", source, out, r"queries\.jsonl:1: missing field 'text'")


@pytest.mark.parametrize(("name", "short", "field"), [("nq", "nq", "passage_id"), ("triviaqa", "trivia", "psg_id")])
def test_questions_in_dprs_form(tmp_path, name, short, field):
    source, out = releases.dpr(tmp_path / "s", short, field), tmp_path / "o"
    prepared(name, source, out)
    assert corpus(out)["1"] == ("Aaron", 'Aaron "Aharon" was')
    assert [(c.id, c.relevant) for c in read_contexts(out / "train.jsonl")] == [
        ("train-0", {"2": 1}),
        ("train-1", {"1": 1}),
    ]
    assert [(c.id, c.relevant) for c in read_contexts(out / "test.jsonl")] == [("test-0", {}), ("test-1", {})]
    rows = [json.loads(line) for line in (out / "answers.test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == [{"id": "test-0", "answers": ["Aharon", "Aaron's"]}, {"id": "test-1", "answers": ["Nile"]}]
    table = source / f"{short}-test.qa.csv"
    break_row(table, "['Nile']", "[__import__('os')]")
    refused(name, source, out, r"test\.qa\.csv:2: the second column is no list of answers")
    break_row(source / f"biencoder-{short}-dev.json", f'"{field}"', '"id"')
    refused(name, source, out, r"dev\.json:2: a positive passage without passage_id or psg_id")


def test_files_are_found_as_the_owners_script_saves_them(tmp_path):
    source = releases.dpr(tmp_path / "s")
    saved = {
        "psgs_w100.tsv.gz": "data/wikipedia_split/psgs_w100.tsv.gz",
        "biencoder-nq-train.json": "data/retriever/nq-train.json",
        "biencoder-nq-dev.json": "data/retriever/nq-dev.json",
        "nq-test.qa.csv": "data/retriever/qas/nq-test.csv",
    }
    for name, place in saved.items():
        (source / place).parent.mkdir(parents=True, exist_ok=True)
        (source / name).rename(source / place)
    assert prepared("nq", source, tmp_path / "o").rows["train.jsonl"] == 2


def test_cast_2019_takes_its_rewrites_from_their_table(tmp_path):
    source, out = releases.cast(tmp_path / "s", 2019), tmp_path / "o"
    prepared("cast2019", source, out)
    assert set(corpus(out)) == {"MARCO_0", "MARCO_1", "CAR_a"}
    first, second = read_contexts(out / "test.jsonl")
    assert (second.id, second.group) == ("31_2", "cast2019-31")
    assert second.rewrites == {"human": "Is cancer treatable?"}
    assert said(second) == ["What is cancer?", "Is it treatable?"]
    assert first.relevant == {"MARCO_0": 2}
    assert read_qrels(out / "qrels.test.tsv")["31_1"] == {"MARCO_0": 2, "CAR_a": 0}
    table = source / "2019/data/evaluation/evaluation_topics_annotated_resolved_v1.0.tsv"
    break_row(table, "31_2\t", "31_2 ")
    refused("cast2019", source, out, r"resolved_v1\.0\.tsv:2: 1 columns")


def test_cast_2020_has_the_texts_of_its_answers_where_the_passages_are(tmp_path):
    source, out = releases.cast(tmp_path / "s", 2020), tmp_path / "o"
    prepared("cast2020", source, out)
    assert said(read_contexts(out / "test.jsonl")[1]) == ["What is cancer?", "cancer is", "Is it treatable?"]
    for name in ("collection.tsv", "car.jsonl"):
        (source / name).unlink()
    done = prepared("cast2020", source, tmp_path / "bare")
    assert "corpus.jsonl" not in done.rows
    assert said(read_contexts(tmp_path / "bare" / "test.jsonl")[1]) == ["What is cancer?", "Is it treatable?"]
    break_row(source / "2020/2020_manual_evaluation_topics_v1.0.json", '"raw_utterance": "Is', '"utterance": "Is')
    refused("cast2020", source, out, r"topics_v1\.0\.json:2: missing field 'raw_utterance'")


def test_cast_2021_has_its_answers(tmp_path):
    source, out = releases.cast(tmp_path / "s", 2021), tmp_path / "o"
    prepared("cast2021", source, out)
    first, second = read_contexts(out / "test.jsonl")
    assert (first.id, second.id, first.relevant) == ("106_1", "106_2", {"MARCO_D1": 1})
    assert said(second) == ["What is cancer?", "about 0", "Is it treatable?"]
    assert second.rewrites == {"human": "Is cancer treatable?"}


def test_cast_2022_follows_its_tree(tmp_path):
    source, out = releases.cast(tmp_path / "s", 2022), tmp_path / "o"
    prepared("cast2022", source, out)
    contexts = {c.id: c for c in read_contexts(out / "test.jsonl")}
    assert set(contexts) == {"132_1-1", "132_1-3", "132_2-1"}
    assert said(contexts["132_2-1"]) == ["What was it?", "A summit.", "Why?"]
    assert contexts["132_1-3"].relevant == {"M": 3}
    break_row(source / "2022/2022_evaluation_topics_tree_v1.0.json", '"parent": "1-1"', '"parent": "9-9"')
    refused("cast2022", source, out, "follows '9-9', which is not before it")


@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_ikat(tmp_path, year):
    source, out = releases.ikat(tmp_path / "s", year), tmp_path / "o"
    prepared(f"ikat{year}", source, out)
    number = {2023: "9-1", 2024: "0", 2025: "1-1"}[year]
    first, second = read_contexts(out / "test.jsonl")
    assert (second.id, second.group) == (f"{number}_2", f"ikat{year}-{number}")
    assert said(second) == ["a diet?", "this", "Yes."]
    assert second.relevant == {"clueweb22-en0035-25-01897:1": 4}
    assert first.rewrites == {"human": "a vegan diet?"}
    assert corpus(out) == {"clueweb22-en0035-25-01897:1": ("", "diets")}
    qrels = next(source.glob("*qrels*"))
    qrels.rename(tmp_path / "away")
    bare = prepared(f"ikat{year}", source, tmp_path / "bare").rows
    assert bare == {"corpus.jsonl": 1, "test.jsonl": 2}  # before judgements are published
    (tmp_path / "away").rename(qrels)
    break_row(qrels, f"{number}_2", "x")
    refused(f"ikat{year}", source, out, "none of its queries is a turn of")
    break_row(source / f"{year}_test_topics.json", '"turn_id": 2', '"turn_id": "two"')
    refused(f"ikat{year}", source, out, r"topics\.json:2: field 'turn_id' is str, not a number")


def test_mtrag_has_a_folder_a_domain(tmp_path):
    source, out = releases.mtrag(tmp_path / "s"), tmp_path / "o"
    done = prepared("mtrag", source, out)
    assert len(done.rows) == 12
    (context,) = read_contexts(out / "fiqa" / "test.jsonl")
    assert (context.id, context.group, context.domain, context.relevant) == ("fiqa<::>2", "fiqa", "fiqa", {"p": 1})
    assert said(context) == ["hi", "hello", "it?"]
    assert context.rewrites == {"human": "what of fiqa?"}
    assert corpus(out / "govt") == {"p": ("govt", "passage")}
    tasks = source / "human/generation_tasks/reference.jsonl"
    break_row(tasks, '"speaker": "agent"', '"speaker": "bot"')
    refused("mtrag", source, out, r"reference\.jsonl:2: unknown speaker 'bot'")
    break_row(tasks, "clapnq<::>2", "clapnq<::>3")
    refused("mtrag", source, out, "1 rewrites belong to no task, 'clapnq<::>2' the first")


def test_blended_skill_talk_answers_for_the_guided_speaker(tmp_path):
    source, out = releases.blended(tmp_path / "s"), tmp_path / "o"
    done = prepared("blended_skill_talk", source, out)
    assert done.groups == {"train.jsonl": 1, "dev.jsonl": 1, "test.jsonl": 1}
    first, second = read_contexts(out / "train.jsonl")
    start = "your persona: i cook.\nyour persona: i read 0.\nCooking\nhi there"
    assert said(first) == [start, "hello you", "what do you do"]
    assert [t.role for t in first.conversation.turns] == ["user", "assistant", "user"]
    assert said(second)[-2:] == ["i cook train", "nice"]
    responses = read_responses(out / "responses.jsonl")
    assert [r.text for r in responses] == ["i cook train", "yes it is", "i cook valid", "i cook test"]
    assert [responses.text(responses.position(name)) for name in second.relevant] == ["yes it is"]
    assert "Cooking" not in said(read_contexts(out / "dev.jsonl")[0])[0]
    assert set(read_qrels(out / "qrels.test.tsv")) == {c.id for c in read_contexts(out / "test.jsonl")}
    break_row(source / "valid.json", "      1,\n", '      "guide",\n')
    refused("blended_skill_talk", source, out, r"valid\.json:2: a turn of the dialog is \['guide'")


def test_convai2(tmp_path):
    source, out = releases.convai2(tmp_path / "s"), tmp_path / "o"
    done = prepared("convai2", source, out)
    assert done.rows == {"responses.jsonl": 4, "train.jsonl": 3, "dev.jsonl": 1}
    assert done.groups["train.jsonl"] == 2
    first, second, third = read_contexts(out / "train.jsonl")
    assert said(second) == ["your persona: i ski.\nyour persona: i read.\nhi .", "hello !", "why ?"]
    assert (first.group, third.group) == ("train-0", "train-1")
    assert said(third) == ["your persona: i cook.\nhey ."]
    break_row(source / "train_self_original.txt", "4 why", "5 why")
    refused("convai2", source, out, r"train_self_original\.txt:4: no line 4 of a talk")
    break_row(source / "train_self_original.txt", "5 why ?\tbecause .", "4 why ? because .")
    refused("convai2", source, out, r"train_self_original\.txt:4: what was said has no answer")


def test_every_data_set_says_what_it_is_and_where_it_is_offered(tmp_path):
    assert set(DATA_SETS) == {
        "topiocqa", "qrecc", "orquac", "canard", "cast2019", "cast2020", "cast2021", "cast2022", "ikat2023", "ikat2024",
        "ikat2025", "mtrag", "msmarco", "beir", "nq", "triviaqa", "blended_skill_talk", "convai2",
    }  # fmt: skip
    for name, one in DATA_SETS.items():
        assert one.name == name
        assert one.what
        assert one.licence
        assert one.methods
        with pytest.raises(DataError, match="lacks") as caught:
            prepare(one, tmp_path, tmp_path / "out")
        assert "https://" in one.offered
        assert one.offered in str(caught.value)
        assert not (tmp_path / "out").exists()
