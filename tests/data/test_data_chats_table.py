"""CSV and TSV logs: columns, quoting, times, rows of one session anywhere."""

import csv
import gzip
import io

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distillir.data import read_contexts
from distillir.data.chats import Columns, ImportOptions, import_chats, parse_gap
from distillir.data.chats.times import parse_time
from distillir.errors import ConfigError, DataError


def imported(tmp_path, *logs, **options):
    out = tmp_path / "out.jsonl"
    report = import_chats(logs, out, ImportOptions(**options))
    return [(c.id, [(t.role, t.content) for t in c.conversation.turns]) for c in read_contexts(out)], report


def write(path, text):
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "header",
    [
        "session_id,role,timestamp,text",
        "Conversation ID,Speaker,Created-At,Message",
        "chatId,senderType,sentAt,messageText",
        '"thread","from","date","content"',
        "dialogue.id,participant,ts,utterance",
        "user_id,author,time,body",
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_are_guessed(tmp_path, header, delimiter):
    rows = [header, "7,customer,2024-05-01 10:00:00,Where is it?", "7,bot,2024-05-01 10:00:02,Here."]
    rows += ["7,customer,2024-05-01 10:01:00,Thanks"]
    text = "\n".join(rows).replace("sentAt", "sent_at").replace(",", delimiter)
    found, _ = imported(tmp_path, write(tmp_path / "log.csv", text))
    said = [("user", "Where is it?"), ("assistant", "Here."), ("user", "Thanks")]
    assert found == [("7#1", said[:1]), ("7#2", said)]


def test_columns_are_named(tmp_path):
    log = write(tmp_path / "log.tsv", "text\twho is it\tcase\tsaid\nno\tMe\t1\thi\nno\tYou\t1\thello\nno\tMe\t1\tbye\n")
    columns = Columns(session="case", role="who is it", text="said")
    found, _ = imported(
        tmp_path, log, format="table", columns=columns, turns="last", **roles(user="me", assistant="you")
    )
    assert found == [("1#2", [("user", "hi"), ("assistant", "hello"), ("user", "bye")])]
    with pytest.raises(ConfigError, match=r"no column 'Case'.*text, who is it, case, said"):
        imported(tmp_path, log, format="table", columns=Columns(session="Case"))
    with pytest.raises(
        DataError, match=r"log.tsv:1: no column .* hold the session.*--session-column NAME, one of: text"
    ):
        imported(tmp_path, log, format="table")


def roles(**words):
    from distillir.data.chats import Roles

    return {"roles": Roles(**{speaker: frozenset({word}) for speaker, word in words.items()})}


def test_quotes_line_breaks_byte_order_mark_crlf_and_gzip(tmp_path):
    text = '\ufeffsession,role,text\r\n1,user,"a ""b"", c\r\nsecond line"\r\n\r\n1,assistant,x\u2028y\r\n1,user,é\r\n'
    expected = [("user", 'a "b", c\r\nsecond line'), ("assistant", "x\u2028y"), ("user", "é")]
    assert imported(tmp_path, write(tmp_path / "log.csv", text))[0][1] == ("1#2", expected)
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert imported(tmp_path, tmp_path / "log.csv.gz")[0][1] == ("1#2", expected)


def test_rows_of_a_session_stand_anywhere_in_any_file_and_are_sorted(tmp_path):
    monday = write(tmp_path / "1.csv", "session,role,time,text\na,user,30,a3\nb,user,10,b1\na,user,10,a1\n")
    tuesday = write(tmp_path / "2.csv", "time,session,text,role\n20,a,a2,bot\n20,b,B,bot\n20,b,C,bot\n\n40,b,b2,user\n")
    for log in (monday, tuesday):  # epoch seconds of 2024
        log.write_text(log.read_text().replace("0,", "0000000,").replace("10000000", "1710000010").replace(
            "20000000", "1710000020").replace("30000000", "1710000030").replace("40000000", "1710000040"))  # fmt: skip
    found, report = imported(tmp_path, monday, tuesday, turns="last")
    assert found == [
        ("a#2", [("user", "a1"), ("assistant", "a2"), ("user", "a3")]),
        ("b#2", [("user", "b1"), ("assistant", "B"), ("assistant", "C"), ("user", "b2")]),
    ]
    assert report.tally.messages.noted == {"out of order": 2}
    assert report.files == {str(monday): "table", str(tuesday): "table"}


def test_bad_rows_are_counted_and_named(tmp_path):
    rows = [
        "session,role,time,text",
        "1,user,2024-05-01T10:00:00Z,kept",
        "1,user",
        "1,user,2024-05-01T10:00:00Z,a,b",
        " ,user,2024-05-01T10:00:00Z,x",
        "1,user,2024-05-01T10:00:00Z,\udcff",
        '1,user,2024-05-01T10:00:00Z,"a"b',
        "1,user,yesterday,kept too",
    ]
    log = tmp_path / "log.csv"
    log.write_bytes("\n".join(rows).encode("utf-8", "surrogateescape"))
    found, report = imported(tmp_path, log, turns="last")
    assert found == [("1#2", [("user", "kept"), ("user", "kept too")])]
    assert report.tally.places == {
        "fewer cells than the header has": [f"{log}:3"],
        "more cells than the header has (a text without quotes?)": [f"{log}:4"],
        "no session": [f"{log}:5"],
        "not UTF-8": [f"{log}:6"],
        "not CSV (a quote without its partner?)": [f"{log}:7"],
    }
    assert report.tally.rows.noted == {"time not readable": 1}
    assert (report.tally.rows.read, report.tally.rows.kept) == (7, 2)
    with pytest.raises(DataError, match=r"log\.csv:3: fewer cells"):
        imported(tmp_path, log, strict=True)


def test_a_quote_without_its_partner_does_not_swallow_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr("distillir.data.chats.table.FIELD_LIMIT", 1000)
    before = csv.field_size_limit()
    rows = ["session,role,text", "0,user,before", '0,user,"open', *(f"{i},user,{'x' * 90}" for i in range(1, 100))]
    found, report = imported(tmp_path, write(tmp_path / "log.csv", "\n".join(rows)))
    assert report.tally.places == {"not CSV (a quote without its partner?)": [f"{tmp_path / 'log.csv'}:3"]}
    # The open cell takes lines of 98 characters until it is full, and the eleventh line with it.
    assert [name for name, _ in found] == ["0#1", *(f"{i}#1" for i in range(12, 100))]
    short = write(tmp_path / "short.csv", "\n".join(rows[:9]))
    assert [name for name, _ in imported(tmp_path, short)[0]] == ["0#1"]
    assert csv.field_size_limit() == before


def test_times_that_nobody_can_read_are_refused(tmp_path):
    log = write(tmp_path / "log.csv", "session,role,date,text\n1,user,1/31/2024 10:00,a\n1,user,2/1/2024 10:00,b\n")
    with pytest.raises(DataError, match=r"no time in its column of times.*ISO 8601.*--time-column none"):
        imported(tmp_path, log)
    assert len(imported(tmp_path, log, columns=Columns(time="none"))[0]) == 2


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2024-05-01T10:00:00Z", 1714557600.0),
        ("2024-05-01 10:00:00", 1714557600.0),
        ("2024/05/01 10:00:00 UTC", 1714557600.0),
        ("2024-05-01T12:00:00.250+02:00", 1714557600.25),
        ("2024-05-01", 1714521600.0),
        ("1714557600", 1714557600.0),
        (" 1714557600.5 ", 1714557600.5),
        ("1714557600000", 1714557600.0),
        ("1714557600000000", 1714557600.0),
        ("1714557600000000000", 1714557600.0),
        ("1.7145576e9", 1714557600.0),
        (1714557600, 1714557600.0),
        (1714557600123, 1714557600.123),
        ("20240501", 1714521600.0),
        ("12", None),
        ("1/5/2024", None),
        ("yesterday", None),
        ("", None),
        ("9" * 25, None),
        (10**400, None),
        (float("inf"), None),
    ],
)
def test_time_stamps(stamp, seconds):
    read = parse_time(stamp)
    assert read == (seconds if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("30 min", 1800), ("1h", 3600), ("90s", 90), ("2d", 172800), ("1.5h", 5400), ("15", 900)],
)
def test_gaps(text, seconds):
    assert parse_gap(text) == seconds
    assert parse_gap("none") is None


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "5 weeks", "m", "1h30m", "nan"])
def test_no_gaps(text):
    with pytest.raises(ConfigError, match=r"is no length of time.*45m"):
        parse_gap(text)


cell = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\r\t"), max_size=12)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(cell | st.sampled_from(['"', '",', "a\nb", ";;", "\t"]), min_size=1, max_size=5),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_the_csv_module_writes_comes_back(tmp_path, texts, delimiter, newline, quoting):
    # Before Python 3.13 the writer leaves a lone "\r" without quotes, which every reader takes for the end of a row.
    assume(quoting == csv.QUOTE_ALL or not any("\r" in text for text in texts))
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerow(["role", "text", "session"])
    writer.writerows([["user", f"{i} {text}", "s"] for i, text in enumerate(texts)])
    (tmp_path / "log.csv").write_bytes(stream.getvalue().encode())
    found, report = imported(tmp_path, tmp_path / "log.csv", turns="last")
    assert found == [(f"s#{len(texts)}", [("user", f"{i} {text}".strip()) for i, text in enumerate(texts)])]
    assert report.tally.rows.dropped == {}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text('ab1,;\t"\n\r \ud800é', max_size=9), max_size=6))
def test_any_table_is_read_or_refused(tmp_path, cells):
    body = ",".join(cells).encode("utf-8", "surrogatepass")
    (tmp_path / "log.csv").write_bytes(b"session,role,time,text\n1,user,2024-05-01,first\n" + body)
    try:
        found, _ = imported(tmp_path, tmp_path / "log.csv")
    except DataError:
        found = [("1#1", [("user", "first")])]
    assert ("1#1", [("user", "first")]) in found
