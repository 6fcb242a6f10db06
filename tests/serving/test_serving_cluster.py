"""A service whose documents are in an engine elsewhere: the same hits, clear errors, several workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from engine_server import EngineServer, exported
from served import CHAT, messages

from distillir.engines import TwoPhase
from distillir.errors import ConfigError, ServiceError
from distillir.serving import Cluster, ServeSettings, Source, open_service, serve

KINDS = [
    ("opensearch", "neural_sparse", False),
    ("opensearch", "neural_sparse_ann", False),
    ("elasticsearch", "sparse_vector", True),
]


@pytest.fixture
def engine(animal_run, tmp_path):
    """Starts one: `engine()`, `engine("elasticsearch", "sparse_vector", True)`."""
    running = []

    def start(name="opensearch", form="neural_sparse", by_dimension=False):
        running.append(EngineServer(exported(animal_run / "exact", tmp_path, name, form, by_dimension)))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.mark.parametrize(("name", "form", "by_dimension"), KINDS)
def test_hits_are_those_of_the_embedded_index(shared, live, engine, run_folder, name, form, by_dimension):
    there = engine(name, form, by_dimension)
    cluster = Cluster(there.url, name, form, by_dimension=by_dimension)
    service = live(Source(run_folder(), cluster=cluster))
    for texts in (CHAT, CHAT[:1]):
        mine, theirs = (one.search(*texts, k=7, explain=True) for one in (service, shared))
        assert [hit["text"] for hit in mine["hits"]] == [hit["text"] for hit in theirs["hits"]]
        for one, other in zip(mine["hits"], theirs["hits"], strict=True):
            assert (one["id"], one["title"], one["metadata"]) == (other["id"], other["title"], other["metadata"])
            assert one["score"] == pytest.approx(other["score"], rel=1e-3)
            assert one["terms"][0]["term"] == other["terms"][0]["term"]
            assert sum(term["weight"] for term in one["terms"]) == pytest.approx(one["score"], rel=1e-3)
        assert mine["served"] == {"model": theirs["served"]["model"], "index": "docs-1-uuid-of-"}
    about = service.client.get("/v1/about").json()
    assert (about["engine"], about["documents"]) == (name, 40)
    assert about["note"] == f"1 worker: {name} has the documents"
    assert service.search(*CHAT, filter={"id": ["otter-home"]})["hits"][0]["id"] == "otter-home"
    reply = service.post("/v1/search", {"messages": messages(*CHAT), "filter": {"id": None}})
    assert reply.status_code == 422


@pytest.mark.parametrize(("name", "form"), [("opensearch", "neural_sparse"), ("elasticsearch", "sparse_vector")])
def test_two_phases_score_by_the_whole_query(shared, live, engine, run_folder, name, form):
    there = engine(name, form)
    phases = TwoPhase(0.5, 10.0, max_window_size=50)
    service = live(Source(run_folder(), cluster=Cluster(there.url, name, form, two_phase=phases)))
    asked = []
    search = there.engine.search
    there.engine.search = lambda body: asked.append(body) or search(body)
    mine, theirs = (one.search(*CHAT, k=5) for one in (service, shared))
    assert [hit["id"] for hit in mine["hits"][:2]] == [hit["id"] for hit in theirs["hits"][:2]]
    assert mine["hits"][0]["score"] == pytest.approx(theirs["hits"][0]["score"], rel=1e-3)
    assert all(("search_pipeline" if name == "opensearch" else "rescore") in body for body in asked)
    assert asked
    reply = service.post("/v1/search", {"messages": messages(*CHAT), "k": 51})
    assert reply.status_code == 422
    assert "two phases rescore 50" in reply.text


def test_documents_are_changed_in_the_engine(live, engine, run_folder):
    there = engine()
    service = live(Source(run_folder(), cluster=Cluster(there.url)))
    reply = service.post("/v1/documents", {"documents": [{"id": "a", "text": "an otter"}]})
    assert reply.status_code == 409
    assert "distillir export" in reply.json()["error"]["cure"]
    assert service.post("/v1/documents/delete", {"ids": ["otter-home"]}).status_code == 409
    # What somebody deletes there is gone here, and another index behind the alias is another version.
    del there.engine.documents["otter-home"]
    assert "otter-home" not in [hit["id"] for hit in service.search(*CHAT)["hits"]]
    there.name = "docs-2"
    assert service.post("/v1/reload", None).json()["served"]["index"] == "docs-2-uuid-of-"
    assert service.search(*CHAT)["served"]["index"] == "docs-2-uuid-of-"


def test_an_engine_that_fails(live, engine, run_folder, monkeypatch):
    there = engine()
    there.auth = "ApiKey abc"
    source = Source(run_folder(), cluster=Cluster(there.url))
    monkeypatch.delenv("DISTILLIR_ENGINE_AUTH", raising=False)
    with pytest.raises(ServiceError, match=r"answers 401 \(security_exception\)") as raised:
        open_service(source)
    assert "DISTILLIR_ENGINE_AUTH" in raised.value.cure
    monkeypatch.setenv("DISTILLIR_ENGINE_AUTH", "ApiKey abc")
    service = live(source)
    assert service.search(*CHAT)["hits"]
    for status, expected in ((500, 503), (404, 503), (429, 429)):
        there.broken = status
        reply = service.post("/v1/search", {"messages": messages(*CHAT)})
        assert reply.status_code == expected
        assert int(reply.headers["retry-after"]) > 0
        assert "a text" not in reply.text  # reasons quote what was asked
    there.broken = None
    assert service.search(*CHAT)["hits"]
    there.hangs_up = 1  # on a connection that was kept: another one is made
    assert service.search(*CHAT)["hits"]
    there.hangs_up = 1000
    reply = service.post("/v1/search", {"messages": messages(*CHAT)})
    assert reply.status_code == 503
    assert "is the engine running?" in reply.json()["error"]["cure"]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9200/docs", "http://127.0.0.1:9200", "http://me:secret@host/docs", "http://host/docs/_search"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigError) as raised:
        Cluster(url)
    assert "secret" not in str(raised.value)


def test_two_phases_of_a_form_that_has_them_not():
    with pytest.raises(ConfigError, match="neural_sparse_ann is not searched in two phases"):
        Cluster("http://127.0.0.1:9200/docs", form="neural_sparse_ann", two_phase=TwoPhase())


def test_one_worker_over_an_embedded_index(run_folder):
    with pytest.raises(ConfigError, match="2 workers over one embedded index") as raised:
        serve(Source(run_folder()), ServeSettings(port=0, workers=2), say=print)
    assert "--engine-url" in raised.value.cure


@pytest.mark.slow
def test_a_worker_that_cannot_start_says_why(run_folder):
    told = []
    source = Source(run_folder(), cluster=Cluster("http://127.0.0.1:9/docs"))
    with pytest.raises(ServiceError, match=r"docs does not answer") as raised:
        serve(source, ServeSettings(port=0, workers=2), say=told.append)
    assert raised.value.cure == "is the engine running?"
    assert told == []


@pytest.mark.slow
def test_workers_share_the_port_and_one_that_dies_is_started_again(engine, run_folder):
    there = engine()
    options = ["--port", "0", "--engine-url", there.url, "--workers", "2"]
    program = [sys.executable, "-m", "distillir.cli", "serve", str(run_folder()), *options]
    environment = {**os.environ, "DISTILLIR_TOKEN": ""}
    first = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        url = next(line.split()[0] for line in first.stderr if line.startswith("http://"))
        assert first.stderr.readline().strip() == "2 workers: opensearch has the documents"

        def asked():
            """On a connection of its own, so that any worker may answer."""
            reply = httpx.post(f"{url}/v1/search", json={"messages": messages(*CHAT)}, timeout=30, trust_env=False)
            return [hit["id"] for hit in reply.raise_for_status().json()["hits"]]

        def counted(name):
            text = httpx.get(f"{url}/metrics", trust_env=False).text
            return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

        expected = asked()
        assert all(asked() == expected for _ in range(30))
        assert counted('distillir_requests_total{route="search"') == 31  # whoever is asked tells of all
        about = httpx.get(f"{url}/v1/about", trust_env=False).json()
        assert about["workers"] == 2
        reply = httpx.post(f"{url}/v1/reload", trust_env=False)
        assert (reply.status_code, "SIGHUP" in reply.json()["error"]["cure"]) == (409, True)
        first.send_signal(signal.SIGHUP)
        until(lambda: counted("distillir_reloads_total") == 2)

        children = workers_of(first.pid)
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        until(lambda: len(workers_of(first.pid)) == 2 and children[0] not in workers_of(first.pid))
        for _ in range(20):
            assert asked() == expected
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
        assert "Traceback" not in first.stderr.read()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz", trust_env=False)
    finally:
        first.kill()
        first.wait()
        first.stderr.close()


def workers_of(pid):
    """Its children that serve; the one that tracks shared things is no worker."""
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]
    return [child for child in children if b"spawn_main" in command_of(child)]


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
