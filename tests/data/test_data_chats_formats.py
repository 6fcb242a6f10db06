"""Each format as its tools write it, and what the readers make of damage."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillir.data import read_contexts
from distillir.data.chats import FORMATS, ImportOptions, ImportReport, import_chats
from distillir.data.chats.json_values import json_entries
from distillir.data.chats.sniff import format_of
from distillir.errors import ConfigError, DataError

ROUTER = [("user", "How do I reset it?"), ("assistant", "Hold the button."), ("user", "And the password?")]


def openai(pairs=ROUTER, **more):
    return {"messages": [{"role": role, "content": text} for role, text in pairs], **more}


def sharegpt(pairs=ROUTER, **more):
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[role], "value": text} for role, text in pairs], **more}


def dumped(pairs=ROUTER):
    """`messages_to_dict`, langchain-core 1.x."""
    kinds = {"user": "human", "assistant": "ai"}
    same = {"additional_kwargs": {}, "response_metadata": {}, "name": None, "id": None}
    return [{"type": kinds[role], "data": {"content": text, "type": kinds[role], **same}} for role, text in pairs]


def constructed(pairs=ROUTER):
    """`dumpd`, langchain-core 1.x."""
    names = {"user": "HumanMessage", "assistant": "AIMessageChunk"}
    return [
        {
            "lc": 1,
            "type": "constructor",
            "id": ["langchain", "schema", "messages", names[role]],
            "kwargs": {"content": text, "type": "human" if role == "user" else "AIMessageChunk"},
        }
        for role, text in pairs
    ]


def chat_message(role, text):
    kwargs = {"content": text, "type": "chat", "role": role}
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ChatMessage"], "kwargs": kwargs}


def tree(*nodes, current=None, **more):
    """A ChatGPT export: (name, parent, role, text) each."""
    mapping = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    for name, parent, role, text in nodes:
        message = {
            "id": name,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": 1706745600.0,
            "content": {"content_type": "text", "parts": [text]},
            "weight": 1.0,
            "recipient": "all",
            "metadata": {},
        }
        mapping[name] = {"id": name, "message": message, "parent": parent, "children": []}
        mapping[parent]["children"].append(name)
    return {"title": "t", "mapping": mapping, "current_node": current, "conversation_id": "chat-7", **more}


def lines(path, *rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def imported(tmp_path, log, **options):
    """(contexts as (id, turns), report)."""
    out = tmp_path / "out.jsonl"
    report = import_chats([log], out, ImportOptions(**options))
    contexts = read_contexts(out)
    return [(c.id, [(t.role, t.content) for t in c.conversation.turns]) for c in contexts], report


def expect(name):
    return [(f"{name}#1", ROUTER[:1]), (f"{name}#2", ROUTER)]


@pytest.mark.parametrize(
    ("row", "format", "name"),
    [
        (openai(), "openai", "log-1"),
        (openai()["messages"], "openai", "log-1"),
        (openai(conversation_id="c 7"), "openai", "c%207"),
        (openai(metadata={"session_id": 12}), "openai", "12"),
        ({"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": openai()}, "openai", "r-1"),
        (sharegpt(id="QWJhYvA_0"), "sharegpt", "QWJhYvA_0"),
        (dumped(), "langchain", "log-1"),
        (constructed(), "langchain", "log-1"),
        ({"session_id": "s", "messages": dumped()}, "langchain", "s"),
        ({"messages": [{"type": m["type"], **m["data"]} for m in dumped()]}, "langchain", "log-1"),
        ([*constructed(ROUTER[:2]), chat_message("user", ROUTER[2][1])], "langchain", "log-1"),
        ([*dumped(ROUTER[:2]), {"type": "chat", "role": "user", "content": ROUTER[2][1]}], "langchain", "log-1"),
    ],
)
def test_one_row_of_each_json_format(tmp_path, row, format, name):
    assert format_of(lines(tmp_path / "log.jsonl", row))[0] == format
    assert imported(tmp_path, tmp_path / "log.jsonl")[0] == expect(name)
    (tmp_path / "log.jsonl").write_text(json.dumps(row, indent=2))
    assert imported(tmp_path, tmp_path / "log.jsonl")[0] == expect(name)


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("make", [openai, sharegpt, lambda: openai()["messages"], dumped, constructed])
def test_an_array_of_chats(tmp_path, make, indent):
    (tmp_path / "log.json").write_text(
        json.dumps([make(), make()[:1] if isinstance(make(), list) else 5], indent=indent)
    )
    found, report = imported(tmp_path, tmp_path / "log.json", turns="last")
    assert [turns for _, turns in found if len(turns) == 3] == [ROUTER]
    assert report.chats + report.tally.rows.dropped.total() == 2


def test_system_and_tool_messages_are_nobodys_turn(tmp_path):
    messages = [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function"}]},
        {"role": "assistant", "tool_calls": []},
        {"role": "tool", "tool_call_id": "c1", "content": "{}"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}], "refusal": None},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
    ]
    for log in (lines(tmp_path / "a.jsonl", messages), tmp_path / "b.json"):
        if log.suffix == ".json":
            log.write_text(json.dumps(messages, indent=1))
        found, report = imported(tmp_path, log, turns="last")
        assert [turns for _, turns in found] == [[("user", "What")]]
        assert report.tally.messages.read == 7
        assert report.tally.messages.dropped == {"system or tool": 2, "no text": 3}


def test_a_request_log_keeps_the_longest_request_under_the_first_name(tmp_path):
    def request(number, pairs, said):
        return {
            "id": f"req-{number}",
            "request": {"model": "m", "messages": [{"role": "system", "content": f"It is {number} o'clock."}]
                        + openai(pairs)["messages"]},
            "response": {"id": f"chatcmpl-{number}", "choices": [{"message": {"role": "assistant", "content": said}}]},
        }  # fmt: skip

    other = [("user", "Something else?")]
    log = lines(
        tmp_path / "log.jsonl",
        request(1, ROUTER[:1], "Hold the button."),
        request(2, other, "No."),
        request(3, ROUTER, "admin"),
        request(4, other, "No."),  # a retry
    )
    found, report = imported(tmp_path, log)
    assert found == [*expect("req-1"), ("req-2#1", other)]
    assert report.tally.rows.dropped == {"repeated in a longer request, or twice": 2}
    assert (report.tally.rows.read, report.chats) == (4, 2)


def test_two_users_who_begin_alike_stay_apart(tmp_path):
    hello = [("user", "hi"), ("assistant", "Hello!")]
    a, b = [*hello, ("user", "a")], [*hello, ("user", "b")]
    log = lines(tmp_path / "log.jsonl", *map(openai, (hello, a, b, [*a, ("assistant", "A"), ("user", "c")])))
    found, report = imported(tmp_path, log, turns="last")
    # One of the two was greeted in row 1, and nobody knows which: the first to go on has its name.
    assert [(name, turns[-1][1]) for name, turns in found] == [("log-3#2", "b"), ("log-1#3", "c")]
    assert report.tally.rows.dropped.total() == 2


def test_the_same_words_in_two_named_sessions_are_two_sessions(tmp_path):
    rows = [openai(session_id="a"), openai(session_id="b"), openai(session_id="a"), openai(ROUTER[:1], session_id="b")]
    found, report = imported(tmp_path, lines(tmp_path / "log.jsonl", *rows), turns="last")
    # The last row is a second, shorter chat of session b, not a request that the longer one went on.
    assert [name for name, _ in found] == ["b#2", "a#2", "b.2#1"]
    assert report.tally.rows.dropped.total() == 1


def test_a_chatgpt_export_follows_the_branch_that_was_seen_last(tmp_path):
    chat = tree(
        ("n0", "root", "system", ""),
        ("n1", "n0", "user", "How do I reset it?"),
        ("n2", "n1", "assistant", "No idea."),
        ("n3", "n1", "assistant", "Hold the button."),
        ("n4", "n3", "user", "And the password?"),
        ("n5", "n2", "user", "edited away"),
        current="n4",
    )
    chat["mapping"]["n3b"] = {"id": "n3b", "parent": "n3", "children": ["n4"], "message": {
        "author": {"role": "assistant"}, "recipient": "python",
        "content": {"content_type": "code", "text": "1 + 1"}}}  # fmt: skip
    chat["mapping"]["n4"]["parent"] = "n3b"
    log = tmp_path / "conversations.json"
    log.write_text(json.dumps([chat, {**chat, "conversation_id": "gone", "current_node": "nowhere"}]))
    assert format_of(log)[0] == "chatgpt"
    found, report = imported(tmp_path, log)
    # Without its leaf, the last child of each node is taken: here the same path.
    assert found == [*expect("chat-7"), *expect("gone")]
    assert report.tally.messages.dropped == {"system or tool": 4}


def test_a_tree_that_bites_its_tail_ends(tmp_path):
    chat = tree(("a", "root", "user", "x"), current="a")
    chat["mapping"]["a"]["parent"] = "a"
    rows = [chat, {"mapping": {"r": {"parent": None, "children": ["r"]}}}, {"mapping": {"r": 3}, "current_node": "r"}]
    (tmp_path / "c.json").write_text(json.dumps(rows))
    assert imported(tmp_path, tmp_path / "c.json")[0] == [("chat-7#1", [("user", "x")])]


def test_bad_rows_are_counted_and_named_and_the_rest_is_kept(tmp_path):
    log = tmp_path / "log.jsonl"
    half = json.dumps(openai([("user", "?")])).replace("?", "\\ud83d")
    nan = json.dumps(openai(cost=1)).replace("1", "NaN")
    rows = [b'{"messages": ', b"\xff\xfe{}", json.dumps({"x": 1}).encode(), half.encode(), nan.encode(), b"[" * 100_000]
    log.write_bytes(
        b"\n".join([json.dumps(openai()).encode(), b"", *rows, json.dumps(openai([("user", "z")])).encode()])
    )
    found, report = imported(tmp_path, log)
    assert found == [*expect("log-1"), ("log-9#1", [("user", "z")])]
    assert (report.tally.rows.read, report.tally.rows.kept) == (8, 2)
    assert report.tally.places["not UTF-8"] == [f"{log}:4"]
    assert report.tally.places["not JSON"] == [f"{log}:3", f"{log}:7"]
    assert report.tally.places["not a chat in the format openai"] == [f"{log}:5"]
    with pytest.raises(DataError, match=r"log.jsonl:3: not JSON.*--strict"):
        imported(tmp_path, log, strict=True)


def test_an_array_that_breaks_off_keeps_what_came_before(tmp_path):
    whole = json.dumps([openai(), sharegpt()])
    (tmp_path / "a.json").write_text(whole[:-30])
    found, report = imported(tmp_path, tmp_path / "a.json")
    assert found == expect("a-1")
    assert list(report.tally.rows.dropped) == ["not JSON: the rest of the file was not read"]
    (tmp_path / "a.json").write_text(json.dumps([openai()])[:-1])
    assert list(imported(tmp_path, tmp_path / "a.json")[1].tally.rows.dropped) == [
        "the file ends inside an array: the rest of the file was not read"
    ]
    (tmp_path / "a.json").write_text(json.dumps(openai()["messages"])[:-1])
    assert imported(tmp_path, tmp_path / "a.json")[0] == expect("a-1")


def test_an_array_is_read_through_a_small_window(tmp_path, monkeypatch):
    monkeypatch.setattr("distillir.data.chats.json_values.CHUNK", 7)
    rows = [openai([("user", f'é\n"{i}" [{{ \u2028')]) for i in range(20)]
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    entries = list(json_entries(tmp_path / "a.json", text))
    assert [entry.value for entry in entries] == rows
    starts = [number for number, line in enumerate(text.split("\n"), start=1) if line == " {"]
    assert [entry.line for entry in entries] == starts


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_gzip_byte_order_mark_and_crlf(tmp_path, name):
    raw = b"\xef\xbb\xbf" + json.dumps(openai()).encode() + b"\r\n\r\n" + json.dumps(sharegpt()).encode() + b"\r\n"
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    found, report = imported(tmp_path, tmp_path / name)
    assert found == expect("log-1")
    assert report.tally.places == {"not a chat in the format openai": [f"{tmp_path / name}:3"]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file.*check the path"),
        (b"", "the file is empty"),
        (b" \n\n ", "the file is empty"),
        (b"PK\x03\x04zip", "zip archive.*unpack"),
        (b"PAR1....", "Parquet.*CSV or JSONL"),
        (b"SQLite format 3\0", "SQLite.*export"),
        ("text\trole\n".encode("utf-16"), "UTF-16.*convert"),
        (b"\x01\0\x02", "a binary file"),
        (gzip.compress(b'{"messages": []}' * 100, mtime=0)[:-12], "truncated"),
        (gzip.compress(b"abc" * 100, mtime=0)[:-8] + b"\xff" * 8, "damaged gzip"),
        (b"Once upon a time", "neither JSON nor a table"),
        (b'{"a": 1}\n{"b": 2}', "none of its first rows is a chat"),
        (b"[1, 2]", "none of its first rows is a chat"),
        (b'{"messages": [{"role": "king", "content": "x"}]}', "no question is left.*--user-role.*'king'"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "no question is left"),
    ],
)
def test_files_that_are_no_logs(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "log").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        import_chats([tmp_path / "log"], tmp_path / "out" / "chats.jsonl")
    assert not list(tmp_path.glob("out/*"))


def test_a_folder_and_an_unknown_format(tmp_path):
    with pytest.raises(DataError, match=r"a folder.*\*\.jsonl"):
        import_chats([tmp_path], tmp_path / "out.jsonl")
    log = lines(tmp_path / "log.jsonl", openai())
    with pytest.raises(ConfigError, match=f"'xml'.*{FORMATS[0]}"):
        imported(tmp_path, log, format="xml")
    with pytest.raises(DataError, match=r"no question is left.*1 not a chat in the format sharegpt"):
        imported(tmp_path, log, format="sharegpt")


def read_or_refused(tmp_path, log, **options):
    try:
        return imported(tmp_path, log, **options)
    except DataError:
        return [], ImportReport()


JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(["user", "human", "HumanMessage"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("messages", "role", "content", "from", "value", "conversations", "type", "data", "lc", "id"),
                    *(
                        "kwargs",
                        "mapping",
                        "parent",
                        "children",
                        "message",
                        "author",
                        "parts",
                        "current_node",
                        "choices",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(JSONISH, min_size=1, max_size=3), indent=st.sampled_from([None, 1]), whole=st.booleans())
@pytest.mark.parametrize("format", ["auto", *FORMATS])
def test_json_of_any_shape_is_read_or_refused(tmp_path, format, rows, indent, whole):
    text = json.dumps(rows, indent=indent) if whole else "\n".join(json.dumps(row, indent=indent) for row in rows)
    (tmp_path / "log.json").write_text(text)
    found, report = read_or_refused(tmp_path, tmp_path / "log.json", format=format)
    assert len(found) == report.contexts.total()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.binary(max_size=60).map(gzip.compress)
    | st.tuples(st.binary(max_size=9), st.integers(0, 200)).map(
        lambda change: (raw := json.dumps([openai()]).encode())[: change[1]] + change[0] + raw[change[1] + 1 :]
    )
    | st.binary(max_size=60).map(lambda tail: b'session,role,text\n1,user,"a\n' + tail)
)
def test_any_bytes_are_read_or_refused(tmp_path, raw):
    (tmp_path / "log").write_bytes(raw)
    found, report = read_or_refused(tmp_path, tmp_path / "log")
    assert len(found) == report.contexts.total()
