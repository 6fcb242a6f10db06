"""The service over real HTTP: what it answers, refuses, limits and names."""

import json
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from served import CHAT, messages

from distillir.adapters import RemoteRetriever
from distillir.errors import ConfigError, DataError, ServiceError
from distillir.recipes import open_retriever
from distillir.serving import ServeSettings, Source, open_service
from distillir.serving.server import bound

HUGE = ServeSettings(timeout=20.0)


def test_a_search_is_the_retrievers(shared, animal_run):
    reply = shared.search(*CHAT, k=5, explain=True)
    with open_retriever(animal_run / "exact") as retriever:
        hits = retriever.retrieve(messages(*CHAT), 5)
    assert [hit["id"] for hit in reply["hits"]] == [hit.id for hit in hits]
    np.testing.assert_allclose([hit["score"] for hit in reply["hits"]], [hit.score for hit in hits], rtol=1e-4)
    first = reply["hits"][0]
    assert (first["text"], first["title"]) == (hits[0].text, hits[0].title)
    assert sum(term["weight"] for term in first["terms"]) == pytest.approx(first["score"], rel=1e-4)
    assert reply["active_dims"] == len(reply["query"])
    assert {origin["back"] for origin in reply["query"]} == {0, 1}
    otter = next(origin for origin in reply["query"] if origin["term"] == "otter")
    assert (otter["role"], otter["back"]) in {("user", 1), ("assistant", 1)}
    assert reply["ms"]["total"] >= reply["ms"]["encode"] + reply["ms"]["search"] - 0.01


def test_every_reply_names_model_and_index(shared, animal_run):
    student = open_retriever(animal_run / "exact").encoder.fingerprint()
    for path, body in (("/v1/search", {}), ("/v1/encode", {})):
        reply = shared.post(path, {"messages": messages("otter food"), **body}).json()
        assert reply["served"]["model"] == student
        assert reply["served"]["index"].endswith("-0")
    about = shared.client.get("/v1/about").json()
    assert about["workers"] == 1
    assert "one worker: the index (qdrant_edge)" in about["note"]
    assert about["documents"] == 40


def test_without_texts_and_terms_hits_are_ids_and_scores(shared):
    hits = shared.search("otter", texts=False)["hits"]
    assert {frozenset(hit) for hit in hits} == {frozenset({"id", "score"})}


def test_the_terms_of_a_query_are_the_students(shared, animal_run):
    reply = shared.post("/v1/encode", {"messages": messages(*CHAT), "top": 3, "explain": True}).json()
    with open_retriever(animal_run / "exact") as retriever:
        terms = retriever.query_terms(messages(*CHAT))
    assert list(reply["terms"]) == list(terms)[:3]
    assert reply["active_dims"] == len(terms)
    assert [origin["term"] for origin in reply["query"]] == list(terms)[:3]


@pytest.mark.parametrize(
    ("body", "status", "cause"),
    [
        ({}, 422, "messages"),
        ({"messages": []}, 422, "messages"),
        ({"messages": messages("a", "b")}, 422, "ends with the assistant's turn"),
        ({"messages": messages("  ")}, 422, "blank"),
        ({"messages": [{"role": "human", "content": "x"}]}, 422, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 422, "no text"),
        ({"messages": messages("x"), "k": 0}, 422, "k"),
        ({"messages": messages("x"), "k": 1001}, 422, "k is 1001"),
        ({"messages": messages("x"), "top_k": 3}, 422, "top_k"),
        ({"messages": messages(*"x" * 201)}, 422, "201 messages"),
        ({"messages": messages("x"), "filter": {"a": {"b": 1}}}, 422, "filter"),
        ({"messages": messages("x"), "rerank": True}, 409, "no reranker"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_cause_and_cure(shared, body, status, cause):
    reply = shared.post("/v1/search", body)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert cause in error["cause"]
    assert error["cure"]


def test_a_body_that_is_not_json(shared):
    headers = {"content-type": "application/json"}
    reply = shared.client.post("/v1/search", content=b'{"messages": [', headers=headers)
    assert reply.status_code == 400
    nan = shared.client.post(
        "/v1/search", content=b'{"messages": [{"role": "user", "content": "x"}], "filter": {"a": NaN}}', headers=headers
    )
    assert nan.status_code == 422


def test_half_a_character_is_no_server_error(shared):
    body = json.dumps({"messages": [{"role": "user", "content": "otter \ud800"}]}).encode()
    reply = shared.client.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert reply.status_code in (200, 422)


def test_special_tokens_of_a_user_move_no_turn(shared):
    origins = shared.search("[SEP] otter [CLS]", explain=True)["query"]
    assert {origin["back"] for origin in origins} == {0}


def test_responses_and_reranker_are_named_when_they_are_missing(shared):
    assert "--responses" in shared.post("/v1/respond", {"messages": messages("x")}).json()["error"]["cure"]
    body = {"messages": messages("x"), "documents": [{"id": "a", "text": "b"}]}
    assert shared.post("/v1/rerank", body).status_code == 409


def test_probes_and_metrics(shared):
    shared.search("otter")
    assert shared.client.get("/healthz").text == "ok\n"
    assert shared.client.get("/readyz").status_code == 200
    text = shared.client.get("/metrics").text
    assert 'distillir_requests_total{route="search",status="200"}' in text
    assert "distillir_documents 40.0" in text
    assert "otter" not in text
    schema = shared.client.get("/v1/openapi.json").json()
    assert {"/v1/search", "/v1/rerank", "/v1/respond", "/v1/encode", "/v1/documents"} <= set(schema["paths"])
    assert shared.client.get("/docs").status_code == 404  # its page would load scripts of another host


def test_the_page_may_load_nothing_from_elsewhere(shared):
    reply = shared.client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "http" not in reply.text.replace("http-equiv", "")
    for name in ("app.js", "style.css"):
        assert shared.client.get(f"/{name}").status_code == 200


def test_the_same_conversation_is_encoded_once(shared):
    first = shared.search(*CHAT, k=3)
    before = shared.client.get("/metrics").text
    again = shared.search(*CHAT, k=3)
    assert again["hits"] == first["hits"]

    def hits(text):
        return float(
            next(line.split()[1] for line in text.splitlines() if line.startswith("distillir_cache_hits_total"))
        )

    assert hits(shared.client.get("/metrics").text) == hits(before) + 1


def test_a_token_is_asked_for_and_never_shown(live, caplog):
    service = live(token="s3cret")
    body = {"messages": messages("otter")}
    for headers in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "s3cret"}):
        reply = service.post("/v1/search", body, headers=headers)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "s3cret" not in reply.text
    right = {"authorization": "Bearer s3cret"}
    assert service.post("/v1/search", body, headers=right).status_code == 200
    assert service.client.get("/metrics").status_code == 401
    assert service.client.get("/metrics", headers=right).status_code == 200
    assert service.client.get("/healthz").status_code == 200  # probes carry no token
    assert "s3cret" not in caplog.text


def test_others_may_reach_it_with_a_token_only(monkeypatch):
    monkeypatch.delenv("DISTILLIR_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="DISTILLIR_TOKEN is not set"):
        ServeSettings(host="0.0.0.0").token()
    monkeypatch.setenv("DISTILLIR_TOKEN", " x1 ")
    assert ServeSettings(host="0.0.0.0").token() == "x1"
    monkeypatch.setenv("DISTILLIR_TOKEN", "ü\n")
    with pytest.raises(ConfigError, match="no header carries"):
        ServeSettings().token()


def test_another_sites_name_does_not_reach_a_local_service(shared):
    body = {"messages": messages("otter")}
    assert shared.post("/v1/search", body, headers={"host": "evil.example:80"}).status_code == 421
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        refused = shared.post("/v1/search", body, headers={"origin": origin})
        assert (refused.status_code, refused.json()["error"]["cause"]) == (403, "a page of another site asks")
    assert shared.post("/v1/search", body, headers={"host": "localhost"}).status_code == 200
    assert shared.post("/v1/search", body, headers={"host": "[::1]:8765"}).status_code == 200
    # Without its own content type a page elsewhere could send this without asking first.
    plain = shared.client.post("/v1/search", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert plain.status_code == 422


def test_a_body_too_large_is_refused_before_it_is_read(live):
    service = live(settings=ServeSettings(max_body=2000))
    large = {"messages": messages("otter " * 1000)}
    assert service.post("/v1/search", large).status_code == 413

    def chunks():
        yield b'{"messages": "'
        for _ in range(50):
            yield b"x" * 100

    reply = service.client.post("/v1/search", content=chunks(), headers={"content-type": "application/json"})
    assert reply.status_code == 413


def test_a_body_that_never_comes_is_not_waited_for(live):
    service = live(settings=ServeSettings(timeout=0.3))
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as slow:
        slow.sendall(
            b"POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 50\r\n\r\n{"
        )
        assert b" 408 " in slow.recv(200)


def slowed(service, seconds):
    """Makes encoding slow, so that requests pile up."""
    searcher = service.service.current.searcher
    work = searcher._batcher._work

    def slow(items):
        time.sleep(seconds)
        return work(items)

    searcher._batcher._work = slow


def test_what_there_is_no_room_for_gets_429_and_when_to_come_again(live):
    service = live(settings=ServeSettings(in_flight=2))
    slowed(service, 0.4)
    replies = []

    def ask(i):
        reply = httpx.post(
            f"{service.url}/v1/search", json={"messages": messages(f"otter {i}")}, timeout=20, trust_env=False
        )
        replies.append(reply)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(reply.status_code for reply in replies)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["cure"]


def test_a_request_that_takes_too_long_gets_504_and_costs_nobody_else(live):
    service = live(settings=ServeSettings(timeout=0.2))
    slowed(service, 0.4)
    assert service.post("/v1/search", {"messages": messages("otter")}).status_code == 504
    time.sleep(0.5)
    service.service.current.searcher._batcher._work = service.service.current.searcher.retriever.queries
    assert service.search("tiger")["hits"]


def test_waiting_conversations_are_encoded_together_and_each_gets_its_own(live):
    service = live()
    slowed(service, 0.2)
    asked = ["otter food", "tiger home", "whale size", "horse sleep", "falcon young"]
    found = {}

    def ask(text):
        found[text] = httpx.post(
            f"{service.url}/v1/search", json={"messages": messages(text), "k": 1}, timeout=20, trust_env=False
        ).json()

    threads = [threading.Thread(target=ask, args=(text,)) for text in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text in asked:
        assert found[text]["hits"][0]["id"].split("-")[0] == text.split()[0]
    counts = [line for line in service.client.get("/metrics").text.splitlines() if "encode_batch_count" in line]
    assert float(counts[0].split()[1]) < len(asked)


def test_a_graceful_end_answers_what_was_asked(live):
    service = live()
    slowed(service, 0.4)
    reply = {}

    def ask():
        reply["it"] = httpx.post(
            f"{service.url}/v1/search", json={"messages": messages("otter")}, timeout=20, trust_env=False
        )

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    service.stop()
    thread.join()
    assert reply["it"].status_code == 200


def test_a_run_folder_is_served_once_at_a_time(live, run_folder):
    source = Source(run_folder())
    live(source)
    with pytest.raises(Exception, match="another process"):
        open_service(source)


def test_a_small_reply_is_not_held_back():
    """asyncio sends at once on sockets that say they are TCP, and holds small packets back on others."""
    with bound(ServeSettings(port=0)) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname(), timeout=5) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP
                client.sendall(b"x")
                assert accepted.recv(1) == b"x"


def test_there_must_be_something_to_serve(tmp_path):
    with pytest.raises(ConfigError, match="no such run folder"):
        open_service(Source(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="no encoder is called"):
        Source(tmp_path, encoder="tpu")


@pytest.mark.parametrize(
    ("name", "content", "cause", "cure"),
    [
        ("recipe.json", {"student": "dense"}, "a dense run, for which there is no service", "distillir search"),
        ("recipe.json", {"student": "generative"}, "a generative run, for which there", "distillir search"),
        ("generative.json", {"student": "../run/student"}, "a generative run, for which there", "distillir search"),
        ("recipe.json", {"student": "reranker"}, "a run of a reranker", "--reranker"),
    ],
)
def test_runs_that_are_searched_elsewhere(tmp_path, name, content, cause, cure):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=cause) as raised:
        open_service(Source(tmp_path / "run"))
    assert cure in raised.value.cure


def test_a_remote_retriever_finds_what_a_local_one_does(live, animal_run, monkeypatch):
    service = live(token="t0ken")
    monkeypatch.delenv("DISTILLIR_TOKEN", raising=False)
    remote = RemoteRetriever(service.url)
    with pytest.raises(ServiceError, match="no bearer token") as raised:
        remote.retrieve(messages(*CHAT))
    assert raised.value.status == 401
    monkeypatch.setenv("DISTILLIR_TOKEN", "t0ken")
    with open_retriever(animal_run / "exact") as retriever:
        mine, theirs = remote.retrieve(messages(*CHAT), 5), retriever.retrieve(messages(*CHAT), 5)
    assert [(h.id, h.text, h.title) for h in mine] == [(h.id, h.text, h.title) for h in theirs]
    assert [h.terms[0][0] for h in mine] == [h.terms[0][0] for h in theirs]
    assert remote.retrieve(messages(*CHAT), 5, {"shelf": 1}) == []
    with pytest.raises(ServiceError, match="ends with the assistant's turn"):
        remote.retrieve(messages("a", "b"))
