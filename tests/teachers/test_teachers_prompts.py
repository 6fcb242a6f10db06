"""Prompts: files that are checked, replaced by a path, and part of every key."""

import pytest

from distillir.errors import ConfigError
from distillir.teachers import Message
from distillir.teachers.prompts import Prompt, builtin_prompts, load_prompt, prompt_texts
from distillir.teachers.prompts.prompt import fill

FIELDS = {
    "rewrite": (("history", "question"), ()),
    "listwise": (("number", "query", "passages"), ()),
    "pointwise": (("query", "document"), ()),
    "query_likelihood": (("document",), ("query",)),
    "response_likelihood": ((), ("response",)),
    "respond": ((), ()),
    "synthesize": (("document",), ()),
    "follow_up": (("history", "question"), ()),
}


def test_every_packaged_prompt_loads_with_the_fields_of_its_teacher():
    assert builtin_prompts() == sorted(FIELDS)
    versions = {load_prompt(name, *fields).version for name, fields in FIELDS.items()}
    assert len(versions) == len(FIELDS)


def write(tmp_path, text, name="p.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_texts_are_found_by_the_version_that_labels_carry(tmp_path):
    own = write(tmp_path, 'user: "Of {question}?"  # mine\n')
    told = prompt_texts([own])
    assert len(told) == len(FIELDS) + 1
    assert told[load_prompt(own, ("question",)).version] == 'user: "Of {question}?"  # mine\n'
    for name, fields in FIELDS.items():
        again = write(tmp_path, told[load_prompt(name, *fields).version], f"{name}.yaml")
        assert load_prompt(again, *fields).version == load_prompt(name, *fields).version


def test_a_chat_with_shots_is_laid_out_by_one_template(tmp_path):
    path = write(tmp_path, 'system: S\nuser: "Q: {question}"\nshots:\n  - {question: one, reply: ONE}\n')
    prompt = load_prompt(path, ["question"])
    assert prompt.messages({"question": "two"}) == (
        Message("system", "S"),
        Message("user", "Q: one"),
        Message("assistant", "ONE"),
        Message("user", "Q: two"),
    )


def test_without_a_template_the_turns_of_the_context_follow(tmp_path):
    prompt = load_prompt(write(tmp_path, "system: S\n"), ())
    turns = (Message("user", "hello"),)
    assert prompt.before({}, turns) == (Message("system", "S"), *turns)


def test_a_plain_text_is_no_chat(tmp_path):
    prompt = load_prompt(write(tmp_path, 'text: "D: {document}"\ncontinuation: " {query}"\n'), ["document"], ["query"])
    assert prompt.before({"document": "x"}) == "D: x"
    assert fill(prompt.continuation, {"query": "y"}) == " y"


def test_values_are_not_templates():
    assert fill("{a} {b} {C} {}", {"a": "{b}", "b": "2"}) == "{b} 2 {C} {}"


def test_the_version_follows_the_words_alone(tmp_path):
    first = load_prompt(write(tmp_path, 'system: S\nuser: "{question}"\n'), ["question"])
    same = load_prompt(write(tmp_path, '# a comment\nuser: "{question}"\nsystem: "S"\n', "other.yml"), ["question"])
    changed = load_prompt(write(tmp_path, 'system: S.\nuser: "{question}"\n'), ["question"])
    shot = load_prompt(
        write(tmp_path, 'system: S\nuser: "{question}"\nshots: [{question: a, reply: b}]\n'), ["question"]
    )
    assert first.version == same.version
    assert len({first.version, changed.version, shot.version}) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('user: "{question}"\nsytem: S\n', "unknown key 'sytem'"),
        ("user: no field\n", "lacks {question}"),
        ('user: "{question} {history}"\n', "has {history}"),
        ("system: S\n", "lacks {question}"),
        ('user: "{question}"\nshots: [{question: a}]\n', "shot 1"),
        ('user: "{question}"\nshots: [a]\n', "no text"),
        ('user: "{question}"\nsystem: 5\n', "no text"),
        ('user: "{question}"\ntext: "{question}"\n', "plain text and a chat"),
        ('text: "{question}"\nshots: [{question: a, reply: b}]\n', "plain text and a chat"),
        ("- a list\n", "holds no prompt"),
        ('user: "{question\n', "no readable YAML"),
        ('user: "{question}"\ncontinuation: " {query}"\n', "continuation has {query}"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(tmp_path, text, told):
    with pytest.raises(ConfigError) as caught:
        load_prompt(write(tmp_path, text), ["question"])
    assert told in str(caught.value)


def test_missing_files_and_names_are_told(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_prompt(tmp_path / "nowhere.yaml", ["question"])
    with pytest.raises(ConfigError, match=r"no prompt 'rewrites' → use one of .*rewrite"):
        load_prompt("rewrites", ["question"])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="YAML"):
        load_prompt(tmp_path / "binary.yaml", ["question"])


def test_tokens_count_instructions_and_examples():
    bare = Prompt("p", user="x" * 40)
    assert bare.tokens == 10
    assert Prompt("p", user="x" * 40, shots=({"question": "y" * 40, "reply": "z" * 40},)).tokens == 40
