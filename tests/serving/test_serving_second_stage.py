"""Reranking and responses over HTTP, and a service that has responses only."""

import numpy as np
import pytest
from served import CHAT, messages

from distillir.data import Response
from distillir.errors import DataError
from distillir.recipes import open_retriever
from distillir.recipes.marks import mark_of, write_text
from distillir.search import ResponseRetriever
from distillir.serving import Source, loading, open_service
from distillir.serving.generation import Generation

WORDS = ["open", "closed", "sunday", "price"]


class Shortest:
    """A reranker that likes few words."""

    def __init__(self):
        self.pairs = []

    def predict(self, pairs):
        self.pairs.extend(pairs)
        return np.array([-len(text.split()) for _, text in pairs], np.float32)


class Words:
    """A response encoder: one dimension a word."""

    dim = len(WORDS)

    def fingerprint(self):
        return "words"

    def _rows(self, texts):
        return np.array([[float(word in text) for word in WORDS] for text in texts], np.float32)

    def encode_queries(self, conversations):
        return self._rows([conversation.question for conversation in conversations])

    encode_responses = _rows


@pytest.fixture
def responses(tmp_path):
    said = [Response("r1", "we are open on sunday"), Response("r2", "the price is one"), Response("r3", "closed")]
    return ResponseRetriever.build(Words(), said, tmp_path / "responses", threshold=0.5)


def test_hits_and_candidates_in_the_rerankers_order(live):
    service = live()
    service.service.current.reranker = ranker = Shortest()
    plain = service.search(*CHAT, k=40)["hits"]
    reply = service.search(*CHAT, k=3, rerank=True)
    shortest = sorted(plain, key=lambda hit: len(f"{hit['title']} {hit['text']}".split()))
    lengths = [len(f"{hit['title']} {hit['text']}".split()) for hit in reply["hits"]]
    assert lengths == [len(f"{hit['title']} {hit['text']}".split()) for hit in shortest[:3]]
    assert [hit["score"] for hit in reply["hits"]] == [-float(n) for n in lengths]
    assert "rerank" in reply["ms"]
    assert ranker.pairs[0][0].question == CHAT[-1]
    body = {"messages": messages("x"), "documents": [{"id": "a", "text": "one two"}, {"id": "b", "text": "one"}]}
    body["documents"].append({"id": "otter-food"})  # the service's own text
    ranking = service.post("/v1/rerank", body).json()["ranking"]
    assert [row["id"] for row in ranking] == ["b", "a", "otter-food"]
    assert len(service.post("/v1/rerank", {**body, "k": 1}).json()["ranking"]) == 1
    body["documents"].append({"id": "nobody's"})
    refused = service.post("/v1/rerank", body)
    assert refused.status_code == 422
    assert "send the text along" in refused.json()["error"]["cure"]
    assert service.client.get("/v1/about").json()["rerank"] is True


def test_responses_are_given_or_withheld(live, responses):
    service = live()
    service.service.current.responder, service.service.current.responses = responses, "v1"
    reply = service.post("/v1/respond", {"messages": messages("are you open on sunday"), "k": 2}).json()
    assert [one["id"] for one in reply["responses"]] == ["r1"]  # the others stay under the threshold
    assert reply["responses"][0]["text"] == "we are open on sunday"
    assert reply["served"] == {"model": "words", "index": "v1"}
    assert service.post("/v1/respond", {"messages": messages("who are you")}).json()["responses"] == []
    told = service.post("/v1/respond", {"messages": messages("price"), "filter": {"origins": "llm"}}).json()
    assert told["responses"] == []


def test_a_run_of_responses_alone(tmp_path, responses, monkeypatch):
    run = tmp_path / "chat"
    write_text(mark_of(run, "index"), "made of something")
    monkeypatch.setattr(loading, "open_response_retriever", lambda out: responses)
    service = open_service(Source(run))
    assert service.current.searcher is None
    assert service.current.served["model"] == "words"
    with pytest.raises(DataError, match="neither a run folder"):
        open_service(Source(tmp_path, state=tmp_path / "other"))
    # The next generation of the same responses goes on using them.
    fresh = service._open(service.current)
    assert fresh.responder is responses
    service.current.lent = True
    service.current.retire()
    assert len(responses.index) == 3
    fresh.retire()
    service.journal.close()


def test_what_a_request_uses_stays_open_until_it_is_done():
    class Closing:
        closed = False

        def close(self):
            self.closed = True

    gen = Generation(searcher=Closing())
    with gen.used():
        with gen.used():
            gen.retire()
        assert not gen.searcher.closed
    assert gen.searcher.closed


def test_what_was_added_over_http_is_found_by_the_command_line_too(live, run_folder):
    run = run_folder("exact")
    service = live(Source(run))
    document = {"id": "new", "text": "an otter house of wood", "metadata": {"shelf": 3}}
    assert service.post("/v1/documents", {"documents": [document]}).status_code == 200
    service.stop()
    with open_retriever(run) as retriever:
        hit = next(hit for hit in retriever.retrieve(messages("wooden house"), 5) if hit.id == "new")
        assert (hit.text, dict(hit.metadata)) == (document["text"], {"shelf": 3})
