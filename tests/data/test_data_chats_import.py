"""A whole import: what is written, reported and refused."""

import json
import os
import signal
import subprocess
import sys

import pytest

from distillir.data import read_contexts
from distillir.data.chats import Columns, ImportOptions, Roles, import_chats
from distillir.data.chats import imports as module
from distillir.errors import ConfigError, DataError

HEADER = "session,role,time,text\n"
DAY = 1714557600


def table(path, *rows):
    path.write_text(HEADER + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    return path


def chats(path, count, first=0):
    rows = [{"id": f"chat{i}", "messages": [{"role": "user", "content": f"q{i}"}]} for i in range(first, first + count)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def ids(path):
    return [context.id for context in read_contexts(path)]


def test_what_is_written_is_a_conversations_file_with_a_report_beside_it(tmp_path):
    rows = [
        ("s", "user", DAY, "a"),
        ("s", "bot", DAY + 5, "b"),
        ("s", "user", DAY + 9, "c"),
        ("s", "user", DAY + 1810, "d"),
    ]
    report = import_chats([table(tmp_path / "log.csv", *rows)], tmp_path / "new" / "chats.jsonl.gz")
    contexts = read_contexts(tmp_path / "new" / "chats.jsonl.gz")
    # Between c and d are 1801 seconds.
    assert [(c.id, c.group, c.conversation.question) for c in contexts] == [
        ("s#1", "s", "a"), ("s#2", "s", "c"), ("s~2#1", "s~2", "d")]  # fmt: skip
    assert contexts[1].conversation.exchanges == (("a", "b"),)
    written = json.loads((tmp_path / "new" / "chats.report.json").read_text())
    assert written == report.to_dict() == json.loads(report.to_json())
    assert written == {
        "files": {str(tmp_path / "log.csv"): "table"},
        "rows": {"read": 4, "kept": 4, "dropped": {}, "noted": {}},
        "chats": 1,
        "messages": {"read": 4, "kept": 4, "dropped": {}, "noted": {}},
        "sessions": {"read": 2, "kept": 2, "dropped": {}, "noted": {"begins after a silence": 1}},
        "contexts": {str(tmp_path / "new" / "chats.jsonl.gz"): 3},
        "turns_per_session": {"1": 1, "2": 1},
        "places": {},
        "unknown_roles": {},
        "masked": None,
        "examples": ["s#1", "s#2", "s~2#1"],
    }
    text = report.text()
    for shown in (
        "4 read, 4 kept",
        "1 noted: begins after a silence",
        "1: 1, 2: 1",
        "(3 contexts)",
        "such as   s#1, s#2",
    ):
        assert shown in text
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["chats.jsonl.gz", "chats.report.json"]


def test_the_options_reach_the_rows(tmp_path):
    log = table(tmp_path / "log.csv", ("s", "in", DAY, "a"), ("s", "out", DAY + 5, "b"), ("s", "in", DAY + 61, "c"))
    roles = Roles(frozenset({"in"}), frozenset({"out"}))

    def written(**options):
        import_chats([log], tmp_path / "out.jsonl", ImportOptions(roles=roles, **options))
        return ids(tmp_path / "out.jsonl")

    assert written() == ["s#1", "s#2"]
    assert written(gap=55.0) == ["s#1", "s~2#1"]
    assert written(gap=56.0) == ["s#1", "s#2"]
    assert written(turns="follow-ups") == ["s#2"]
    assert written(gap=55.0, columns=Columns(time="none")) == ["s#1", "s#2"]
    with pytest.raises(DataError, match=r"no question is left.*2 one question only"):
        written(gap=55.0, turns="follow-ups")


def test_a_session_keeps_its_split_when_the_log_grows(tmp_path):
    options = ImportOptions(split=(0.5, 0.25, 0.25))
    splits = {}
    for count in (40, 80):
        out = tmp_path / str(count)
        report = import_chats([chats(tmp_path / "log.jsonl", count)], out, options)
        splits[count] = {id: name for name in ("train", "dev", "test") for id in ids(out / f"{name}.jsonl")}
        assert len(splits[count]) == count == report.contexts.total()
        assert (tmp_path / f"{count}.report.json").exists()
    assert splits[80].items() > splits[40].items()


def test_parts_of_a_session_lie_in_the_same_split(tmp_path):
    rows = [(f"s{i}", "user", DAY + 10_000 * part, f"q{part}") for i in range(40) for part in range(3)]
    options = ImportOptions(split=(0.5, 0.25, 0.25), gap=60.0)
    import_chats([table(tmp_path / "log.csv", *rows)], tmp_path / "out", options)
    found = {name: ids(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "dev", "test")}
    sessions = {name: {id.split("#")[0].split("~")[0] for id in these} for name, these in found.items()}
    assert [len(found[name]) for name in found] == [3 * len(sessions[name]) for name in found]
    assert sum(map(len, sessions.values())) == 40


def test_a_split_without_a_part_writes_nothing(tmp_path):
    log = chats(tmp_path / "log.jsonl", 2)
    with pytest.raises(DataError, match=r"(dev|test)\.jsonl: the split leaves it empty: 2 chats.*--?seed|another seed"):
        import_chats([log], tmp_path / "out", ImportOptions(split=(0.98, 0.01, 0.01)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]
    import_chats([log], tmp_path / "out", ImportOptions(split=(1.0, 0.0, 0.0)))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.jsonl"]


def test_a_log_is_never_written_over(tmp_path):
    log = chats(tmp_path / "chats.jsonl", 2)
    (tmp_path / "link.jsonl").symlink_to(log)
    before = log.read_bytes()
    for out in (log, tmp_path / "link.jsonl"):
        with pytest.raises(ConfigError, match=r"is one of the logs.*--out"):
            import_chats([log], out)
    with pytest.raises(ConfigError, match="give a folder"):
        import_chats([log], tmp_path / "new.jsonl", ImportOptions(split=(1.0, 0.0, 0.0)))
    with pytest.raises(ConfigError, match="no log is named"):
        import_chats([], tmp_path / "new.jsonl")
    log.rename(tmp_path / "train.jsonl")
    with pytest.raises(ConfigError, match="is one of the logs"):
        import_chats([tmp_path / "train.jsonl"], tmp_path, ImportOptions(split=(1.0, 0.0, 0.0)))
    assert (tmp_path / "train.jsonl").read_bytes() == before


def test_a_failed_import_leaves_what_was_there(tmp_path):
    (tmp_path / "out.jsonl").write_text("old")
    log = chats(tmp_path / "log.jsonl", 3)
    with log.open("a") as stream:
        stream.write("{\n")
    with pytest.raises(DataError, match=r"log\.jsonl:4: not JSON"):
        import_chats([log], tmp_path / "out.jsonl", ImportOptions(strict=True))
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "out.jsonl"]


def test_a_killed_import_leaves_what_was_there(tmp_path):
    (tmp_path / "out.jsonl").write_text("old")
    chats(tmp_path / "log.jsonl", 3)
    program = (
        "import os, signal, sys\nfrom distillir.data.chats import import_chats, imports\n"
        "imports._check = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nimport_chats(['log.jsonl'], 'out.jsonl')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert not (tmp_path / "out.report.json").exists()


def test_a_log_that_grows_while_it_is_read(tmp_path, monkeypatch):
    log = chats(tmp_path / "log.jsonl", 2)
    check = module.Names.give

    def appended(self, label):
        with log.open("a") as stream:
            stream.write('{"messages": [{"role": "user", "content": "late"}]}\n{"messages"')
        return check(self, label)

    monkeypatch.setattr(module.Names, "give", appended)
    import_chats([log], tmp_path / "out.jsonl")
    assert ids(tmp_path / "out.jsonl") == ["chat0#1", "chat1#1"]


def test_logs_of_several_formats_in_one_import(tmp_path):
    share = tmp_path / "share.json"
    share.write_text(json.dumps([{"id": "chat0", "conversations": [{"from": "human", "value": "x"}]}]))
    log = table(tmp_path / "log.csv", ("chat0", "user", "", "y"))
    report = import_chats([chats(tmp_path / "log.jsonl", 1), share, log], tmp_path / "out.jsonl")
    assert list(report.files.values()) == ["openai", "sharegpt", "table"]
    assert ids(tmp_path / "out.jsonl") == ["chat0#1", "chat0.2#1", "chat0.3#1"]


MEASURED = """
import resource, sys
from distillir.data.chats import import_chats
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = import_chats([sys.argv[1]], "out.jsonl")
print(report.chats, report.contexts.total(), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def measured(log):
    """Chats, contexts, and MiB by which an import in a process of its own grew."""
    command = [sys.executable, "-c", MEASURED, str(log)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=log.parent, env=environment, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.slow
def test_a_table_of_a_hundred_thousand_rows(tmp_path):
    words = "some words of a message as they are written to a help desk every day"
    roles = ("user", "bot")
    rows = ((f"s{i // 4}", roles[i % 2], DAY + i, f"{i} {words}") for i in range(100_000))
    found, contexts, grown = measured(table(tmp_path / "log.csv", *rows))
    assert (found, contexts) == (25_000, 50_000)
    assert grown < 250  # MiB


@pytest.mark.slow
def test_an_array_takes_the_memory_of_its_largest_chat(tmp_path):
    texts = [f"{i} " + "words of an answer " * 50 for i in range(10)]
    with (tmp_path / "log.json").open("w") as stream:
        for i in range(20_000):
            said = [
                {"from": ("human", "gpt")[j % 2], "value": f"{i} {text}"} for j, text in enumerate(texts[: i % 9 + 2])
            ]
            stream.write(("," if i else "[") + json.dumps({"id": i, "conversations": said}))
        stream.write("]")
    assert (tmp_path / "log.json").stat().st_size > 100e6
    found, _, grown = measured(tmp_path / "log.json")
    assert found == 20_000
    assert grown < 60  # MiB
