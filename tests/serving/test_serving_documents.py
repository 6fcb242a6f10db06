"""Documents come and go while they are searched; replies name the state they saw; nothing acknowledged is lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from served import CHAT, messages

from distillir.errors import SearchIndexError
from distillir.recipes import SparseRecipe, index_alone
from distillir.recipes.opening import open_encoder, open_student
from distillir.search import Retriever
from distillir.serving import ServeSettings, Source, open_service

NEW = {"id": "new", "text": "the otter lives in a wooden house by the lake", "title": "", "metadata": {"shelf": [1, 2]}}


def add(service, *documents):
    reply = service.post("/v1/documents", {"documents": list(documents)})
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("engine", ["exact", "qdrant_edge"])
def test_documents_come_are_replaced_and_go(live, run_folder, engine):
    service = live(Source(run_folder(engine)))
    before = service.search(*CHAT)["served"]["index"]
    told = add(service, NEW)
    assert told["documents"] == 41
    found = service.search(*CHAT, explain=True)
    assert found["served"] == told["served"]
    assert told["served"]["index"] == before.removesuffix("-0") + "-1"
    hit = next(hit for hit in found["hits"] if hit["id"] == "new")
    assert (hit["text"], hit["metadata"]) == (NEW["text"], NEW["metadata"])
    assert "otter" in {term["term"] for term in hit["terms"]}
    assert [h["id"] for h in service.search(*CHAT, filter={"shelf": 2})["hits"]] == ["new"]
    assert service.search(*CHAT, filter={"shelf": "2"})["hits"] == []
    add(service, {"id": "otter-home", "text": "otters sleep in trees", "title": "replaced"})
    texts = {hit["id"]: hit["text"] for hit in service.search("otter trees", k=40)["hits"]}
    assert texts["otter-home"] == "otters sleep in trees"
    gone = service.post("/v1/documents/delete", {"ids": ["new", "never-there"]}).json()
    assert gone["documents"] == 40
    assert gone["served"]["index"].endswith("-3")
    assert "new" not in {hit["id"] for hit in service.search(*CHAT, k=41)["hits"]}


def test_a_document_is_encoded_as_the_corpus_was(live, run_folder):
    """The same text under another id scores as the original does: by the frozen encoder, title and all."""
    service = live(Source(run_folder("exact")))
    original = {hit["id"]: hit for hit in service.search("otter food", k=40)["hits"]}["otter-food"]
    add(service, {"id": "twin", "text": original["text"], "title": original["title"]})
    scores = {hit["id"]: hit["score"] for hit in service.search("otter food", k=41)["hits"]}
    assert scores["twin"] == pytest.approx(scores["otter-food"], rel=2e-3)  # the corpus is stored in half precision


def test_what_is_not_a_document_changes_nothing(live, run_folder):
    service = live(Source(run_folder()))
    for documents in ([], [{"id": "", "text": "x"}], [{"id": "a", "text": ""}], [NEW, NEW], [{"id": "a", "body": "x"}]):
        assert service.post("/v1/documents", {"documents": documents}).status_code == 422
    many = [{"id": str(i), "text": "x"} for i in range(257)]
    assert "at most 256" in service.post("/v1/documents", {"documents": many}).json()["error"]["cure"]
    assert service.post("/v1/documents/delete", {"ids": []}).status_code == 422
    assert service.search("otter")["served"]["index"].endswith("-0")
    assert service.client.get("/v1/about").json()["documents"] == 40


def test_a_restart_finds_what_was_added_even_in_a_rebuilt_index(live, run_folder, animal_run, tmp_path):
    run = run_folder("exact")
    first = live(Source(run))
    add(first, NEW)
    first.post("/v1/documents/delete", {"ids": ["tiger-food"]})
    version = first.search(*CHAT)["served"]["index"]
    first.stop()
    again = live(Source(run))
    assert again.search(*CHAT)["served"]["index"] == version
    assert again.client.get("/v1/about").json()["documents"] == 40
    again.stop()
    more = (animal_run / "corpus.jsonl").read_text() + '{"_id": "owl-food", "text": "The owl eats mice."}\n'
    (tmp_path / "more.jsonl").write_text(more)
    index_alone(SparseRecipe(out=run, engine="exact", corpus=tmp_path / "more.jsonl"), quiet=True)
    rebuilt = live(Source(run))
    found = rebuilt.search(*CHAT, k=41)
    assert found["served"]["index"].endswith("-2")
    assert found["served"]["index"] != version
    ids = {hit["id"] for hit in found["hits"]}
    assert "new" in ids
    assert "tiger-food" not in ids


def test_an_index_without_its_journal_is_not_served(live, run_folder):
    run = run_folder("exact")
    source = Source(run)
    service = live(source)
    add(service, NEW)
    service.stop()
    (source.folder / "writes.jsonl").unlink()
    with pytest.raises(SearchIndexError, match="restore the journal"):
        open_service(source)


def test_a_change_that_cannot_be_applied_is_taken_back(live, run_folder):
    service = live(Source(run_folder("exact")))
    index = service.service.current.searcher.collection.index
    add_to, failing = index.add, [True]

    def full(*arguments):
        if failing[0]:
            raise SearchIndexError("no space left", "free some space")
        return add_to(*arguments)

    index.add = full
    reply = service.post("/v1/documents", {"documents": [NEW]})
    assert reply.status_code == 503
    assert reply.json()["error"] == {"cause": "no space left", "cure": "free some space"}
    assert service.search(*CHAT)["served"]["index"].endswith("-0")
    failing[0] = False
    assert add(service, NEW)["served"]["index"].endswith("-1")


def test_every_reply_equals_a_replay_against_the_version_it_names(live, run_folder, tmp_path):
    """Searches, additions, deletions and reloads at once; afterwards each reply is computed again, offline."""
    run = run_folder("exact")
    pristine = run_folder("exact", "pristine")
    source = Source(run)
    service = live(source, ServeSettings(in_flight=200))
    replies, lost, stop = [], [], threading.Event()
    asked = [("otter food",), CHAT, ("house", "", "of the otter"), ("tiger home",)]

    def search(number):
        with httpx.Client(base_url=service.url, timeout=20, trust_env=False) as client:
            while not stop.is_set():
                texts = asked[(number + len(replies)) % len(asked)]
                reply = client.post("/v1/search", json={"messages": messages(*texts), "k": 7, "texts": False})
                (replies if reply.status_code == 200 else lost).append((texts, reply.json()))

    threads = [threading.Thread(target=search, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for i in range(4):
        add(service, {**NEW, "id": f"n{i}", "text": f"{NEW['text']} number {i}"})
        assert service.post("/v1/reload", None).status_code == 200
        service.post("/v1/documents/delete", {"ids": [f"n{i - 1}", "otter-food"]})
    stop.set()
    for thread in threads:
        thread.join()
    service.stop()
    assert not lost
    versions = {reply["served"]["index"] for _, reply in replies}
    assert len(versions) > 4

    from distillir.index import open_index

    student, encoder = open_student(pristine), open_encoder(pristine)
    changes = [json.loads(line) for line in (source.folder / "writes.jsonl").read_text().splitlines()]
    with open_index(pristine / "index") as index:
        retriever = Retriever(student, index)
        for seq in range(len(changes) + 1):
            if seq:
                change = changes[seq - 1]
                if change["op"] == "add":
                    texts = [row["text"] for row in change["documents"]]
                    index.add([row["id"] for row in change["documents"]], encoder.encode_documents(texts))
                else:
                    index.delete(change["ids"])
            expected = {texts: retriever.retrieve(messages(*texts), 7) for texts in asked}
            for texts, reply in replies:
                if reply["served"]["index"].endswith(f"-{seq}"):
                    hits = expected[texts]
                    assert [h["id"] for h in reply["hits"]] == [h.id for h in hits]
                    scores = [h["score"] for h in reply["hits"]]
                    np.testing.assert_allclose(scores, [h.score for h in hits], rtol=1e-4)


def test_a_link_that_points_elsewhere_is_a_swap_without_a_lost_request(live, run_folder, animal_run, tmp_path):
    one, two = run_folder("exact", "one"), tmp_path / "two"
    index_alone(
        SparseRecipe(out=two, engine="qdrant_edge", corpus=animal_run / "corpus.jsonl", max_length=64), quiet=True
    )
    link = tmp_path / "current"
    link.symlink_to(one)
    service = live(Source(link))
    add(service, NEW)
    before = service.search(*CHAT)["served"]
    stop, statuses = threading.Event(), []

    def search():
        with httpx.Client(base_url=service.url, timeout=20, trust_env=False) as client:
            while not stop.is_set():
                statuses.append(client.post("/v1/search", json={"messages": messages(*CHAT)}).status_code)

    thread = threading.Thread(target=search)
    thread.start()
    link.unlink()
    link.symlink_to(two)
    told = service.post("/v1/reload", None).json()
    time.sleep(0.1)
    stop.set()
    thread.join()
    assert told["before"] == before
    after = service.search(*CHAT)
    assert after["served"] == told["served"]
    assert after["served"]["index"] != before["index"]
    assert "new" in {hit["id"] for hit in after["hits"]}  # added over HTTP, so it stays
    assert set(statuses) == {200}
    with pytest.raises(SearchIndexError, match="closed"):
        len(_closed(one, service))


def _closed(folder, service):
    """The old index was let go: another process could open it; here its lock is free."""
    from distillir.index import open_index

    index = open_index(folder / "index")
    index.close()
    return index


def test_a_reload_that_fails_leaves_what_was_served(live, run_folder, tmp_path):
    one = run_folder("exact", "one")
    link = tmp_path / "current"
    link.symlink_to(one)
    service = live(Source(link))
    before = service.search(*CHAT)
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    reply = service.post("/v1/reload", None)
    assert reply.status_code == 503
    assert "run `distillir index RECIPE`" in reply.json()["error"]["cure"]
    assert service.search(*CHAT)["hits"] == before["hits"]


def started(run: Path, *options):
    """A service in a process of its own: it and its address."""
    program = [sys.executable, "-m", "distillir.cli", "serve", str(run), "--port", "0", *options]
    environment = {**os.environ, "DISTILLIR_TOKEN": ""}
    child = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment)
    for line in child.stderr:
        if line.startswith("http://127.0.0.1:"):
            return child, line.split()[0]
    child.wait()
    child.stderr.close()
    pytest.fail("it did not start")


def test_kill_9_loses_nothing_that_was_acknowledged(run_folder):
    run = run_folder()
    child, url = started(run)
    acknowledged = []
    try:
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                try:
                    client.get("/readyz").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.05)

            def write():
                for i in range(10_000):
                    body = {"documents": [{**NEW, "id": f"k{i}"}]}
                    try:
                        if client.post("/v1/documents", json=body).status_code == 200:
                            acknowledged.append(f"k{i}")
                    except httpx.HTTPError:
                        return

            writer = threading.Thread(target=write)
            writer.start()
            while len(acknowledged) < 5 and writer.is_alive():
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            writer.join(20)
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
    assert len(acknowledged) >= 5
    service = open_service(Source(run))
    collection = service.current.searcher.collection
    assert collection.seq in (len(acknowledged), len(acknowledged) + 1)  # the one in flight may have been written
    kept = {hit.id for hit in service.current.searcher.retriever.retrieve(messages("wooden house lake"), 1000)}
    assert set(acknowledged) <= kept
    service.current.retire()
    service.journal.close()


@pytest.mark.slow
def test_sigterm_ends_it_in_order_and_sighup_reloads(run_folder):
    child, url = started(run_folder())
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        for _ in range(200):
            try:
                client.get("/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        child.send_signal(signal.SIGHUP)
        for _ in range(100):
            if "distillir_reloads_total 1.0" in client.get("/metrics").text:
                break
            time.sleep(0.05)
        else:
            pytest.fail("no reload")
        child.send_signal(signal.SIGTERM)
    assert child.wait(20) in (0, -signal.SIGTERM)
    told = child.stderr.read()
    child.stderr.close()
    assert "one worker" in told
    assert "Traceback" not in told
