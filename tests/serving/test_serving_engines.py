"""The service over an index whose documents are in an engine elsewhere, and over a read-only one."""

import pytest
from served import CHAT

from distillir.recipes import SparseRecipe, index_alone
from distillir.serving import Source

NEW = {"id": "new", "text": "the otter lives in a wooden house by the lake", "title": ""}


@pytest.fixture
def run_with(animals, tmp_path):
    folder = animals(tmp_path / "animals")

    def made(line):
        recipe = SparseRecipe(out=tmp_path / "run", corpus=folder / "corpus.jsonl", engine=line)
        index_alone(recipe, quiet=True)
        return recipe.out

    return made


@pytest.mark.parametrize("engine", ["qdrant", "milvus"])
def test_documents_come_and_go_in_the_engine(live, run_with, engine_line, engine):
    run = run_with(engine_line(engine))
    service = live(Source(run))
    assert service.client.get("/v1/about").json()["engine"] == engine
    assert service.search(*CHAT)["hits"][0]["id"] == "otter-home"
    reply = service.post("/v1/documents", {"documents": [NEW]})
    assert reply.status_code == 200, reply.text
    assert reply.json()["documents"] == 41
    assert "new" in [hit["id"] for hit in service.search(*CHAT)["hits"]]
    service.stop()
    again = live(Source(run))
    assert "new" in [hit["id"] for hit in again.search(*CHAT)["hits"]]
    assert again.post("/v1/documents/delete", {"ids": ["new"]}).status_code == 200
    assert "new" not in [hit["id"] for hit in again.search(*CHAT)["hits"]]


def test_a_read_only_engine_says_so_and_goes_on(live, run_with, engine_line):
    service = live(Source(run_with(engine_line("seismic"))))
    before = service.search(*CHAT)
    reply = service.post("/v1/documents", {"documents": [NEW]})
    assert reply.status_code == 503
    assert "read-only once it is built" in reply.text
    after = service.search(*CHAT)
    assert [hit["id"] for hit in after["hits"]] == [hit["id"] for hit in before["hits"]]
    assert after["served"] == before["served"]
