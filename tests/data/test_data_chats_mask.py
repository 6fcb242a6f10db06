"""Masking: what is found, what is not, and that nothing of it is left in any file."""

import json
import logging
import sys

import pytest

from distillir.data import read_contexts
from distillir.data.chats import ImportOptions, Masker, import_chats
from distillir.errors import ConfigError, DataError, MissingDependencyError

pytest.importorskip("presidio_analyzer")

PLANTED = {
    "email": "Jane.Doe+x@mail.example.co.uk",
    "phone": "+49 30 901820",
    "credit_card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ip": "203.0.113.77",
    "us_ssn": "536-90-4399",
    "crypto": "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
}


def masked(*texts, **options):
    mask = Masker(**options).conversation()
    return [mask(text) for text in texts]


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_is_found(kind):
    text = f"It is {PLANTED[kind]}, is it not?"
    assert masked(text) == [f"It is <{kind.upper()}_1>, is it not?"]
    assert masked(text, kinds=[k for k in PLANTED if k != kind]) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root@mail.corp.internal", "<EMAIL_1>"),  # no public suffix
        ("(415) 555-2671", "<PHONE_1>"),
        ("0049 30 901820", "<PHONE_1>"),
        ("[fe80::1ff:fe23:4567:890a]", "[<IP_1>]"),
        ("4111-1111-1111-1111", "<CREDIT_CARD_1>"),
    ],
)
def test_other_spellings(text, expected):
    assert masked(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "How do I write csv in Python 3.11?",
        "error 404 at 127.0.0.1:8080 in setup.py, see https://docs.example.com/a?b=1",
        "My ThinkPad 20XW-0012 from 2024-01-02 10:00:00, ISBN 978-3-16-148410-0",
        "card 4111 1111 1111 1112 has a wrong check digit",
        "What did <EMAIL_1> say @ noon?",
        "",
    ],
)
def test_questions_stay_whole(text):
    assert masked(text) == [text]


def test_what_it_does_not_find_and_what_it_finds_wrongly():
    missed = "I am Jane Doe of 12 High Street, Leeds, born on 3 May 1981, customer 77812"
    assert masked(missed) == [missed]
    assert masked("order 4155552671, firmware 10.4.1.2") == ["order <PHONE_1>, firmware <IP_1>"]


def test_the_same_datum_has_the_same_placeholder_in_one_conversation_and_starts_anew_in_the_next():
    masker = Masker()
    first, second = masker.conversation(), masker.conversation()
    assert first("a@x.org and b@x.org") == "<EMAIL_1> and <EMAIL_2>"
    assert first("is B@X.org with (415) 555-2671 or 415-555-2671?") == "is <EMAIL_2> with <PHONE_1> or <PHONE_1>?"
    assert second("b@x.org") == "<EMAIL_1>"
    assert masker.counts == {"email": 4, "phone": 2}


def test_urls_are_masked_when_asked_for():
    text = "see https://shop.example.com/orders/jane and setup.py"
    assert masked(text, kinds=["url"]) == ["see <URL_1> and setup.py"]
    assert masked(text) == [text]


def test_overlapping_finds_are_one_stretch():
    # An address with digits that read as a phone number: one placeholder, and no digit left over.
    (text,) = masked("write to 4155552671@example.com now")
    assert text == "write to <EMAIL_1> now"


def test_regions_decide_national_numbers():
    assert masked("030 901820", regions=["DE"]) == ["<PHONE_1>"]
    assert masked("030 901820", regions=["US"]) == ["030 901820"]


def test_a_search_that_ran_into_its_time_limit_leaves_nothing(monkeypatch):
    monkeypatch.setattr("presidio_analyzer.pattern_recognizer.REGEX_TIMEOUT_SECONDS", 0)
    assert masked("who is jane@example.com?", kinds=["email"]) == ["<EMAIL_1>"]


def test_unknown_kinds_and_regions():
    with pytest.raises(ConfigError, match=r"'passport'.*email, phone"):
        Masker(["email", "passport"])
    with pytest.raises(ConfigError, match="email, phone"):
        Masker([])
    with pytest.raises(ConfigError, match=r"'Germany'.*DE"):
        Masker(regions=["Germany"])
    with pytest.raises(ConfigError, match=r"spaCy model 'nowhere'.*en_core_web"):
        Masker(names_model="nowhere")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(MissingDependencyError, match=r"distillir\[privacy\]"):
        Masker()


def test_names_are_masked_with_a_model_that_finds_them(tmp_path):
    import spacy

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}, {"label": "ORG", "pattern": "Acme"}])
    pipeline.to_disk(tmp_path / "names")
    found = masked("Jane Doe of Acme?", "Jane  Doe, jane@x.org", names_model=str(tmp_path / "names"))
    assert found == ["<NAME_1> of Acme?", "Jane  Doe, <EMAIL_1>"]


def everything(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def leaks(written):
    """Planted data that can be read in `written`, in any spelling with or without its blanks."""
    written = written.lower().replace(b" ", b"")
    return [kind for kind, datum in PLANTED.items() if datum.lower().replace(" ", "").encode() in written]


def test_none_of_the_planted_data_is_in_anything_that_is_written(tmp_path, caplog, capsys):
    logs, out = tmp_path / "logs", tmp_path / "out"
    logs.mkdir()
    everybody = " or ".join(PLANTED.values())
    chat = [
        {"role": "system", "content": everybody},
        {"role": "user", "content": f"Who is {everybody}?"},
        {"role": "assistant", "content": f"You: {everybody}."},
        {"role": PLANTED["email"], "content": everybody},
        {"role": "user", "content": f"Forget {PLANTED['phone']}!"},
    ]
    rows = [{"session_id": f"{kind} {datum}", "messages": chat} for kind, datum in PLANTED.items()]
    text = "".join(f"{json.dumps(row)}\n" for row in rows) + f'{{"messages": "{everybody}"}}\n{everybody}\n'
    (logs / "a.jsonl").write_text(text)
    (logs / "b.csv").write_text(
        "session,role,time,text\n"
        + "".join(f'{datum},user,{PLANTED["phone"]},"{datum}"\n' for datum in PLANTED.values())
        + f'x,user,2024-05-01,x\nx,user,"{everybody}\n'
    )
    assert len(leaks(everything(logs))) == len(PLANTED)
    with caplog.at_level(logging.DEBUG, logger="distillir"):
        report = import_chats(sorted(logs.iterdir()), out, ImportOptions(split=(0.5, 0.25, 0.25), masker=Masker()))
    assert leaks(everything(out)) == []
    assert leaks((report.text() + report.to_json() + caplog.text + "".join(capsys.readouterr())).encode()) == []
    assert leaks((tmp_path / "out.report.json").read_bytes()) == []
    contexts = [c for name in ("train", "dev", "test") for c in read_contexts(out / f"{name}.jsonl")]
    assert {c.group for c in contexts} == {f"c{i}" for i in range(1, 16)}
    first = next(c for c in contexts if c.id == "c1#2")
    assert first.conversation.question == "Forget <PHONE_1>!"
    assert first.conversation.exchanges[0].answer == (
        "You: <EMAIL_1> or <PHONE_1> or <CREDIT_CARD_1> or <IBAN_1> or <IP_1> or <US_SSN_1> or <CRYPTO_1>."
    )
    # Twice in each of the seven chats, once more for the phone's follow-up, once in the table.
    assert report.to_dict()["masked"] == {kind: 15 + 7 * (kind == "phone") for kind in PLANTED}
    assert report.to_dict()["unknown_roles"] == {}


@pytest.mark.parametrize(
    "log",
    [
        f"{PLANTED['email']},user,text\n{PLANTED['email']},user,hi\n",  # a table without a header
        f"session,role,text\n1,{PLANTED['email']},hi\n",
        json.dumps({"messages": [{"role": PLANTED["email"], "content": "x"}]}),
        json.dumps({PLANTED["email"]: 1}),
    ],
)
def test_errors_of_a_masked_import_repeat_nothing_of_the_log(tmp_path, log):
    (tmp_path / "log").write_text(log)
    with pytest.raises(DataError) as refused:
        import_chats([tmp_path / "log"], tmp_path / "out.jsonl", ImportOptions(masker=Masker()))
    assert leaks(str(refused.value).encode()) == []
    assert refused.value.__cause__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
