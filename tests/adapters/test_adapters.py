"""The adapters inside the real frameworks, over a real index; each finds what the retriever itself finds."""

import asyncio
import importlib
import os
import sys

import pytest

from distillir import Retriever
from distillir.adapters import RemoteRetriever
from distillir.errors import ConfigError, ConversationError, MissingDependencyError, ServiceError

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before it is imported
os.environ["LANGSMITH_TRACING"] = "false"

TEXTS = [
    {"_id": "otter-food", "title": "otter", "text": "The otter eats fish.", "shelf": 1},
    {"_id": "otter-home", "title": "otter", "text": "The otter lives in rivers.", "shelf": 2},
    {"_id": "tiger-home", "title": "tiger", "text": "The tiger lives in forests.", "shelf": 2},
    {"_id": "tiger-food", "title": "tiger", "text": "The tiger eats meat.", "shelf": 1},
]
ASKED, SAID, QUESTION = "what does the otter eat?", "The otter eats fish.", "and where does it live?"
CHAT = [
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": SAID},
    {"role": "user", "content": QUESTION},
]


@pytest.fixture(autouse=True)
def loop_of_its_own():
    """Frameworks take the thread's event loop and leave it open, to be complained of in some later test."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(scope="module")
def retriever():
    with Retriever.from_documents(TEXTS, quiet=True) as made:
        yield made


@pytest.fixture(scope="module")
def expected(retriever):
    hits = retriever.retrieve(CHAT, 3)
    assert hits[0].id == "otter-home"
    return hits


def test_langchain(retriever, expected):
    pytest.importorskip("langchain_core", reason="langchain-core is not installed: the extra langchain")
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
    from langchain_core.runnables import RunnableLambda

    from distillir.adapters.langchain import DistillirRetriever, messages_of

    adapter = DistillirRetriever(source=retriever, k=3)
    history = [SystemMessage("be brief"), HumanMessage(ASKED), AIMessage(SAID)]
    for given in (
        {"input": QUESTION, "chat_history": history},
        {"input": QUESTION, "chat_history": [("human", ASKED), ("ai", SAID)]},
        [*history, HumanMessage(QUESTION)],
    ):
        found = adapter.invoke(given)
        assert [one.id for one in found] == [hit.id for hit in expected]
        assert found[0].page_content == "The otter lives in rivers."
        assert found[0].metadata["score"] == pytest.approx(expected[0].score)
        assert found[0].metadata["shelf"] == 2
    assert [one.id for one in adapter.invoke(QUESTION)] == [hit.id for hit in retriever.retrieve(CHAT[2:], 3)]
    chain = RunnableLambda(lambda asked: {"input": asked, "chat_history": history}) | adapter
    assert chain.invoke(QUESTION)[0].id == "otter-home"
    only = DistillirRetriever(source=retriever, k=3, where={"shelf": 1})
    assert {one.metadata["shelf"] for one in only.invoke(QUESTION)} == {1}
    with pytest.raises(ConversationError, match="without a question"):
        messages_of({"question": "x"})
    with pytest.raises(ConversationError, match="no conversation"):
        messages_of(7)


def test_llamaindex(retriever, expected):
    pytest.importorskip("llama_index.core", reason="llama-index-core is not installed: the extra llamaindex")
    from llama_index.core.chat_engine import CondensePlusContextChatEngine
    from llama_index.core.llms import ChatMessage, MockLLM
    from llama_index.core.memory import ChatMemoryBuffer

    from distillir.adapters.llamaindex import DistillirRetriever

    memory = ChatMemoryBuffer(token_limit=3000, tokenizer_fn=str.split)
    adapter = DistillirRetriever(retriever, 3, memory=memory)
    assert [n.node.node_id for n in adapter.retrieve(QUESTION)] == [h.id for h in retriever.retrieve(CHAT[2:], 3)]
    memory.set([ChatMessage(role="user", content=ASKED), ChatMessage(role="assistant", content=SAID)])
    nodes = adapter.retrieve(QUESTION)
    assert [node.node.node_id for node in nodes] == [hit.id for hit in expected]
    assert nodes[0].score == pytest.approx(expected[0].score)
    assert nodes[0].node.get_content() == "The otter lives in rivers."
    engine = CondensePlusContextChatEngine.from_defaults(adapter, llm=MockLLM(), memory=memory, skip_condense=True)
    answer = engine.chat(QUESTION)
    assert [node.node.node_id for node in answer.source_nodes] == [hit.id for hit in expected]
    memory.set([ChatMessage(**message) for message in CHAT])  # the question is there already
    assert [node.node.node_id for node in adapter.retrieve(QUESTION)] == [hit.id for hit in expected]


def test_haystack(retriever, expected):
    pytest.importorskip("haystack", reason="haystack-ai is not installed: the extra haystack")
    from haystack import Pipeline
    from haystack.dataclasses import ChatMessage

    from distillir.adapters.haystack import DistillirRetriever

    pipeline = Pipeline()
    pipeline.add_component("retriever", DistillirRetriever(retriever, top_k=3))
    chat = [
        ChatMessage.from_system("be brief"),
        ChatMessage.from_user(ASKED),
        ChatMessage.from_assistant(SAID),
        ChatMessage.from_user(QUESTION),
    ]
    found = pipeline.run({"retriever": {"messages": chat}})["retriever"]["documents"]
    assert [one.id for one in found] == [hit.id for hit in expected]
    assert (found[0].content, found[0].meta["shelf"]) == ("The otter lives in rivers.", 2)
    assert found[0].score == pytest.approx(expected[0].score)
    assert len(pipeline.run({"retriever": {"messages": chat, "top_k": 1}})["retriever"]["documents"]) == 1


def test_an_address_that_is_none():
    for url in ("127.0.0.1:8765", "ftp://x", "http://user:secret@host"):
        with pytest.raises(ConfigError, match="no address of a service"):
            RemoteRetriever(url)
    with pytest.raises(ServiceError, match="does not answer") as raised:
        RemoteRetriever("http://127.0.0.1:1").retrieve(CHAT)
    assert raised.value.status == 503
    assert "distillir serve" in raised.value.cure


@pytest.mark.parametrize(
    ("module", "needed", "extra"),
    [
        ("langchain", "langchain_core.callbacks", "langchain"),
        ("llamaindex", "llama_index.core.memory", "llamaindex"),
        ("haystack", "haystack", "haystack"),
    ],
)
def test_a_framework_that_is_missing_is_named_with_its_extra(monkeypatch, module, needed, extra):
    monkeypatch.delitem(sys.modules, f"distillir.adapters.{module}", raising=False)
    monkeypatch.setitem(sys.modules, needed, None)
    with pytest.raises(MissingDependencyError, match=rf"distillir\[{extra}\]"):
        importlib.import_module(f"distillir.adapters.{module}")
