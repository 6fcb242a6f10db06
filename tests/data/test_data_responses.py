"""Fixed sets of responses, what may join them, and the talks they come from."""

import json
from collections import Counter

import pytest

from distillir.conversation import Conversation
from distillir.data import (
    Context,
    Response,
    ResponseRules,
    ResponseSet,
    join_responses,
    load_chitchat,
    read_contexts,
    read_documents,
    read_responses,
    read_words,
    write_published,
    write_responses,
)
from distillir.errors import ConfigError, DataError


def asks(name: str, *turns: str, golds: tuple[str, ...] = ()) -> Context:
    """Turns in exchange, the last the user's."""
    pairs = [(turns[i], turns[i + 1]) for i in range(0, len(turns) - 1, 2)]
    return Context(name, Conversation.from_pairs(pairs, turns[-1]), relevant=dict.fromkeys(golds, 1))


GOLDS = ResponseSet([Response("g1", "I like rivers."), Response("g2", "Hello!"), Response("g3", "What a damn day")])


def test_one_text_is_one_response_whatever_its_case_blanks_and_width():
    made = ResponseSet(
        [Response("a", "Hello  there"), Response("b", "no"), Response("c", "hello THERE ", ("m",)), Response.of("ｎｏ")]
    )
    assert [(one.id, one.text, one.origins) for one in made] == [
        ("a", "Hello  there", ("gold", "m")),
        ("b", "no", ("gold",)),
    ]
    assert made.position("c") == made.position("a") == 0
    assert made.position(Response.of("NO").id) == 1
    assert made.find(" HELLO there").id == "a"
    assert made.find("hello") is None
    assert len(made) == 2
    assert "c" in made
    assert "d" not in made
    with pytest.raises(DataError, match="no response 'd'"):
        made.position("d")


def test_ids_of_texts_are_equal_where_the_texts_are():
    assert Response.of("Well, no.").id == Response.of(" well,  NO.").id
    assert Response.of("Well, no.").id != Response.of("Well no.").id


@pytest.mark.parametrize(
    ("responses", "why"), [([Response("a", " ")], "blank"), ([Response("a", "x"), Response("a", "y")], "two texts")]
)
def test_sets_that_cannot_be_are_refused(responses, why):
    with pytest.raises(DataError, match=why):
        ResponseSet(responses)


def test_files_keep_everything_and_are_corpora(tmp_path):
    path = tmp_path / "responses.jsonl"
    write_responses(path, [Response("a", "Ça va ?", ("gold", "m")), Response("b", "two\nlines", ("m",))])
    assert [tuple(vars(one).values()) for one in read_responses(path)] == [
        ("a", "Ça va ?", ("gold", "m")),
        ("b", "two\nlines", ("m",)),
    ]
    assert [(line, one.id, one.text) for line, one in read_documents(path)] == [
        (1, "a", "Ça va ?"),
        (2, "b", "two\nlines"),
    ]
    path.write_text('{"id": 7, "text": "yes"}\n', encoding="utf-8")  # a user's own file
    assert [(one.id, one.origins) for one in read_responses(path)] == [("7", ("gold",))]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ('{"_id": "b", "text": " "}', "blank"),
        ('{"_id": "b", "text": "x", "origins": "gold"}', "no list of names"),
        ('{"_id": "b", "text": "x", "origins": []}', "no list of names"),
        ('{"_id": "a", "text": "x"}', "twice"),
        ('{"_id": "b", "te', "not JSON"),
    ],
)
def test_a_bad_row_is_named(tmp_path, second, why):
    path = tmp_path / "responses.jsonl"
    path.write_text('{"_id": "a", "text": "yes"}\n' + second + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=why) as refused:
        read_responses(path)
    assert refused.value.line == 2


def test_rules_name_what_they_leave_out():
    rules = ResponseRules(shortest=2, longest=30, words=("Damn", "shut up"), copied=10)
    chat = Conversation.from_pairs([("Do you like big rivers and lakes?", "Hi")], "and the sea?")
    expected = {
        "x": "too short",
        "x" * 31: "too long",
        "oh DAMN it": "a word of the list",
        "shut  up!": "a word of the list",
        "damned, shut upwards": "",  # whole words only
        "hi": "a copy of its context",
        "like big RIVERS and lakes?": "a copy of its context",
        "lakes?": "",  # too short a piece to be a copy
        "the sea is cold": "",
    }
    assert {text: rules.refuse(text, chat) for text in expected} == expected
    assert rules.refuse("hi") == ""  # without a context nothing is a copy
    assert ResponseRules(copied=0).refuse("hi", chat) == ""


@pytest.mark.parametrize("options", [{"shortest": 0}, {"shortest": 9, "longest": 8}, {"words": (" ",)}, {"copied": -1}])
def test_rules_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError):
        ResponseRules(**options)


def test_word_lists_are_lines(tmp_path):
    (tmp_path / "words.txt").write_text("damn\n\n shut up \n", encoding="utf-8")
    assert read_words(tmp_path / "words.txt") == ("damn", "shut up")


def test_generated_responses_join_positives_set_and_counts():
    contexts = [
        asks("c1", "do you like water?", golds=("g1",)),
        asks("c2", "hi", "hey", "what a day", golds=("g3",)),
        asks("c3", "good morning", golds=("g2", "unknown")),
    ]
    generated = {
        "m": {
            "c1": ["Yes, a lot.", "i like  rivers.", "yes, a lot.", "Do you like water?", "Maybe."],
            "c2": ["Damn.", "hey"],
            "c3": ["YES, a lot."],
            "elsewhere": ["never seen"],
        },
        "n": {"c3": ["Morning!"]},
    }
    made = join_responses(GOLDS, contexts, generated, ResponseRules(words=("damn",)))
    assert [(one.text, one.origins) for one in made.responses] == [
        ("I like rivers.", ("gold", "m")),
        ("Hello!", ("gold",)),
        ("Yes, a lot.", ("m",)),
        ("Maybe.", ("m",)),
        ("Morning!", ("n",)),
    ]
    said = {c.id: [made.responses.text(made.responses.position(name)) for name in c.relevant] for c in made.contexts}
    assert said == {"c1": ["I like rivers.", "Yes, a lot.", "Maybe."], "c3": ["Hello!", "Yes, a lot.", "Morning!"]}
    assert made.left_out == Counter(
        {
            "gold: a word of the list": 1,
            "gold: of a context, not in the set": 2,  # g3, and the unknown one
            "m: a duplicate in its context": 2,  # of the gold, and of another
            "m: a copy of its context": 2,
            "m: a word of the list": 1,
            "context: without a response": 1,
        }
    )


def test_a_context_gets_so_many_and_none_means_gold_alone():
    contexts = [asks("c1", "do you like water?", golds=("g1",))]
    said = {"m": {"c1": ["One.", "Two.", "Three."]}}
    made = join_responses(GOLDS, contexts, said, per_context=2)
    assert [one.text for one in made.responses][3:] == ["One.", "Two."]
    assert made.left_out == Counter({"m: beyond per_context": 1})
    alone = join_responses(GOLDS, contexts)
    assert [one.id for one in alone.responses] == ["g1", "g2", "g3"]
    assert alone.contexts == tuple(contexts)


@pytest.fixture
def talks(tmp_path):
    folder = tmp_path / "talks"
    folder.mkdir()

    def write(*rows):
        (folder / "conversations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return folder

    return write


def talk(name, split, *texts, speakers="AB"):
    turns = [{"speaker": speakers[i % len(speakers)], "text": text} for i, text in enumerate(texts)]
    return {"_id": name, "prompt": "p", "turns": turns, "split": split}


def test_every_turn_but_the_first_answers_a_context(talks):
    folder = talks(talk("t", "train", "hello!", "Hi", "how are you?", "hello!"), talk("d", "dev", "so", "hi"))
    data = load_chitchat(folder, window=2)
    found = data.contexts("train")
    assert [c.id for c in found] == ["t#1", "t#2", "t#3"]
    assert {c.group for c in found} == {"t"}
    assert found[2].conversation.messages() == [
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "how are you?"},
    ]
    assert [one.text for one in data.responses] == ["Hi", "how are you?", "hello!"]
    assert [next(iter(c.relevant)) for c in data.contexts()][::3] == [Response.of("Hi").id] * 2
    assert data.counts.kept == 2


def test_blank_turns_are_not_answered_and_talks_without_answers_are_counted(talks):
    folder = talks(talk("t", "test", "a", " ", "b", "c"), talk("u", "train", "a", "b", speakers="A"))
    data = load_chitchat(folder)
    assert [c.id for c in data.contexts()] == ["t#3"]
    assert data.counts.dropped == Counter({"no turn answers another": 1})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (talk("t", "all", "a", "b"), "split"),
        (talk("t", "dev", "a", "b", speakers="AC"), "speaker 'C'"),
        ({"_id": "t", "split": "dev", "turns": [{"speaker": "A"}]}, "text"),
    ],
)
def test_malformed_talks_are_refused_by_line(talks, row, why):
    folder = talks(talk("s", "dev", "a", "b"), row)
    with pytest.raises(DataError, match=why) as refused:
        load_chitchat(folder)
    assert refused.value.line == 2


def test_splits_and_windows_that_cannot_be_are_refused(talks):
    folder = talks(talk("s", "dev", "a", "b"))
    with pytest.raises(ConfigError, match="window"):
        load_chitchat(folder, window=0)
    with pytest.raises(DataError, match="no split"):
        load_chitchat(folder).contexts("validation")


def test_talks_become_files_that_a_recipe_names(talks, tmp_path):
    folder = talks(talk("t", "train", "hello!", "Hi", "how are you?"), talk("d", "test", "so", "Well."))
    written = write_published("chitchat", folder, tmp_path / "out")
    assert written == {"corpus.jsonl": 3, "train.jsonl": 2, "test.jsonl": 1}
    responses = read_responses(tmp_path / "out" / "corpus.jsonl")
    assert [one.origins for one in responses] == [("gold",)] * 3
    for context in read_contexts(tmp_path / "out" / "train.jsonl"):
        assert all(name in responses for name in context.relevant)
