"""Parts of the service by themselves: batches, locks, the journal."""

import asyncio
import json
import threading

import pytest

from distillir.errors import SearchIndexError
from distillir.serving.batching import Batcher
from distillir.serving.journal import Journal
from distillir.serving.locks import ReadWriteLock


def test_one_that_is_at_fault_spoils_no_other_of_its_batch():
    sizes, go = [], threading.Event()

    def work(items):
        go.wait(5)
        if "bad" in items:
            raise ValueError("bad")
        return [item.upper() for item in items]

    async def ask():
        batcher = Batcher(work, 3, sizes.append)
        asked = [asyncio.ensure_future(batcher(item)) for item in ("first", "a", "bad", "b", "c")]
        await asyncio.sleep(0.05)
        go.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return results

    results = asyncio.run(ask())
    assert [r for r in results if isinstance(r, str)] == ["FIRST", "A", "B", "C"]
    assert isinstance(results[2], ValueError)
    assert max(sizes) == 3
    assert sum(sizes) == 5


def test_a_lone_request_waits_for_nobody_and_batches_grow_under_load():
    sizes = []

    async def ask():
        batcher = Batcher(lambda items: items, 8, sizes.append)
        assert await batcher("one") == "one"
        started = threading.Event()

        def slow(items):
            started.set()
            return items

        batcher._work = slow
        assert await asyncio.gather(*(batcher(i) for i in range(20))) == list(range(20))
        batcher.close()

    asyncio.run(ask())
    assert sizes[0] == 1
    assert max(sizes[1:]) == 8


def test_whoever_gave_up_is_not_encoded():
    seen = []

    async def ask():
        gate = threading.Event()

        def work(items):
            seen.extend(items)
            gate.wait(5)
            return items

        batcher = Batcher(work, 1)
        first = asyncio.ensure_future(batcher("first"))
        await asyncio.sleep(0.02)
        left = asyncio.ensure_future(batcher("left"))
        last = asyncio.ensure_future(batcher("last"))
        await asyncio.sleep(0.02)
        left.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(first, last) == ["first", "last"]
        batcher.close()

    asyncio.run(ask())
    assert seen == ["first", "last"]


def test_a_writer_is_alone_and_is_not_kept_waiting_by_new_readers():
    async def run():
        lock, told = ReadWriteLock(), []

        async def read(name, seconds):
            async with lock.reading():
                told.append(f"+{name}")
                await asyncio.sleep(seconds)
                told.append(f"-{name}")

        async def write(name):
            async with lock.writing():
                told.append(f"+{name}")
                await asyncio.sleep(0.01)
                told.append(f"-{name}")

        async def later(work, seconds):
            await asyncio.sleep(seconds)
            await work

        await asyncio.gather(
            read("r1", 0.05),
            read("r2", 0.02),
            later(write("w1"), 0.01),
            later(read("r3", 0), 0.02),
            later(write("w2"), 0.02),
        )
        return told

    told = asyncio.run(run())
    assert told[:2] == ["+r1", "+r2"]
    assert told[2:4] == ["-r2", "-r1"]
    assert told[4][1:] == told[5][1:] != told[6][1:] == told[7][1:]  # one after the other, whichever was first
    assert {told[4], told[6]} == {"+w1", "+w2"}
    assert told[8:] == ["+r3", "-r3"]


def test_a_writer_that_gives_up_lets_readers_in():
    async def run():
        lock = ReadWriteLock()
        async with lock.reading():
            waiting = asyncio.ensure_future(_write(lock))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1), lock.reading():
            return True

    async def _write(lock):
        async with lock.writing():
            pass

    assert asyncio.run(run())


def test_changes_are_numbered_and_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "state")
    assert journal.append({"op": "add", "documents": [{"id": "ü", "text": "x"}]}) == 1
    assert journal.append({"op": "delete", "ids": ["ü"]}) == 2
    journal.close()
    again = Journal(tmp_path / "state")
    assert again.last == 2
    assert [change["op"] for change in again.changes()] == ["add", "delete"]
    assert [change["seq"] for change in again.changes(after=1)] == [2]
    again.undo()
    assert again.last == 1
    assert again.append({"op": "delete", "ids": ["y"]}) == 2
    assert [change.get("ids") for change in again.changes(after=1)] == [["y"]]
    again.close()


def test_a_line_cut_short_was_acknowledged_to_nobody(tmp_path):
    journal = Journal(tmp_path)
    journal.append({"op": "delete", "ids": ["a"]})
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"seq": 2, "op": "del')
    again = Journal(tmp_path)
    assert again.last == 1
    assert again.append({"op": "delete", "ids": ["b"]}) == 2
    again.close()
    assert [json.loads(line)["seq"] for line in again.path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("line", ["{}", '{"seq": 2, "op": "delete", "ids": []}', '{"seq": 1, "op": "eval"}', "[1]"])
def test_a_damaged_journal_is_refused_by_line(tmp_path, line):
    (tmp_path / "writes.jsonl").write_text(line + "\n")
    with pytest.raises(SearchIndexError, match=r"writes.jsonl:1 is no change"):
        Journal(tmp_path)


def test_a_journal_has_one_writer(tmp_path):
    first = Journal(tmp_path)
    with pytest.raises(SearchIndexError, match="another process"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append({"op": "delete", "ids": ["a"]})
    content = journal.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("distillir.serving.journal.os.fsync", full)
        with pytest.raises(SearchIndexError, match="no space left"):
            journal.append({"op": "delete", "ids": ["b"]})
    assert journal.path.read_bytes() == content
    assert journal.last == 1
    journal.close()
