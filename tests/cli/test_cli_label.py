"""`distillir label …` with the small real model and with a tiny one, in this process."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import typer

from distillir.cli.app import app
from distillir.cli.label import label
from distillir.cli.label_run import progress_line
from distillir.labels import LabelStore
from distillir.teachers import Progress


@pytest.fixture(autouse=True)
def registered():
    """The command, where the program does not have it yet."""
    if not any(group.name == "label" for group in app.registered_groups):
        app.add_typer(label, name="label")


@pytest.fixture
def endpoint(monkeypatch):
    """Base URL of an endpoint that answers every chat by what its last message holds; counts the calls."""
    monkeypatch.setenv("OPENAI_API_KEY", "none-of-your-business")
    served = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = asked["messages"][-1]["content"]
            served.append(text)
            marks = [line[1 : line.index("]")] for line in text.splitlines() if line.startswith("[")]
            if marks:
                said = " > ".join(f"[{mark}]" for mark in reversed(marks))
            elif "Passage: " in text:
                said = "Question: What does it eat near the water?\nAnswer: It eats what it finds near the water."
            else:
                said = "What does the otter do?"
            choices = [{"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            body = json.dumps({"model": "m-2026", "choices": choices, "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def files(animals, tmp_path):
    folder = animals(tmp_path / "data")
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    run = [
        f"{row['id']} Q0 {doc} {i} {9 - i} bm25"
        for row in rows
        for i, doc in enumerate(("tiger-food", "parrot-food", "otter-food"))
    ]
    (folder / "bm25.trec").write_text("\n".join(run) + "\n")
    return folder


def test_rewrites_are_made_audited_and_written(call, files, endpoint, tmp_path):
    url, served = endpoint
    store, out = tmp_path / "l.sqlite", tmp_path / "out.jsonl"
    command = ["label", "rewrite", files / "test.jsonl", "--store", store, "--model", "m", "--endpoint", url]
    command += ["--price-in", "10", "--price-out", "100", "--out", out]
    code, told, err = call(*command, "--dry-run")
    assert code == 0
    assert "4 calls to make" in told
    assert not store.exists()
    code, told, err = call(*command)
    assert (code, err) == (0, "")
    assert "6 labels made (0 malformed), 0 were there" in told
    assert "4 calls, 400 tokens in, 40 out, 0.008 USD" in told
    assert told.startswith("audit: ")
    assert len(served) == 4
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0]["rewrite"] == {"human": "what does the parrot eat", "llm": "what does the parrot eat"}
    assert rows[1]["rewrite"]["llm"] == "What does the otter do?"
    code, told, _ = call(*command, "--json")
    found = json.loads(told)
    assert (found["stored"], found["labels"], found["usage"]["calls"], found["out"]) == (6, 0, 0, str(out))
    assert found["audit"]["checks"]
    assert len(served) == 4
    code, told, _ = call(*command, "--dry-run", "--json")
    assert json.loads(told)["calls"] == 0


def test_a_budget_stops_and_the_same_command_goes_on(call, files, endpoint, tmp_path):
    url, served = endpoint
    command = ["label", "rewrite", files / "test.jsonl", "--store", tmp_path / "l.sqlite", "--model", "m"]
    command += ["--endpoint", url, "--price-in", "1000", "--concurrency", "1", "--quiet"]
    code, told, _ = call(*command, "--budget", "0.0001")
    assert code == 1
    assert "stopped by the budget" in told
    assert not served
    code, told, _ = call(*command, "--budget", "1000")
    assert code == 0
    assert len(served) == 4


def test_lists_are_ordered_window_by_window(call, files, endpoint, tmp_path):
    url, served = endpoint
    store = tmp_path / "l.sqlite"
    command = ["label", "listwise", files / "test.jsonl", "--store", store, "--model", "m", "--endpoint", url]
    command += ["--candidates", files / "bm25.trec", "--corpus", files / "corpus.jsonl", "--name", "gpt"]
    code, told, _ = call(*command, "--limit", "2", "--window", "2", "--step", "1")
    assert code == 0, told
    assert len(served) == 4
    with LabelStore(store, create=False) as opened:
        # 1 2 3 → 1 [3 2] → [3 1] 2
        assert set(map(tuple, opened.values("gpt", "order").values())) == {("otter-food", "tiger-food", "parrot-food")}
    assert "gpt/windows (order)" in told
    code, _, err = call(*command, "--query", "llm")
    assert code == 1
    assert "has no rewrite by 'llm'" in err


def test_conversations_are_synthesized_from_documents(call, files, endpoint, tmp_path):
    url, _ = endpoint
    every = [json.loads(line) for line in (files / "corpus.jsonl").read_text().splitlines()]
    documents = [document for document in every if document["_id"].endswith("-food")]
    for document in documents:
        document["text"] = (
            f"{document['text']} This {document['title']} is one of many, as its keeper told us all. " * 2
        )
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    out = tmp_path / "synthetic.jsonl"
    command = ["label", "synthesize", tmp_path / "d.jsonl", "--store", tmp_path / "l.sqlite", "--model", "m"]
    command += ["--endpoint", url, "--conversations", "2", "--turns", "1", "--out", out, "--json"]
    code, told, err = call(*command)
    assert code == 0, err
    found = json.loads(told)
    share = next(check for check in found["audit"]["checks"] if check["name"] == "passes")
    # The second conversation asks the same of another animal: a near-duplicate, and left out.
    assert share["figures"] == {"asked": 2, "kept": 2, "passing": 1, "share": 0.5}
    assert found["contexts"] == len(out.read_text().splitlines()) == 1
    row = json.loads(out.read_text())
    assert row["rewrite"] == {"synthetic": "What does it eat near the water?"}
    assert next(iter(row["relevant"])).endswith("-food")


def test_a_cross_encoder_is_no_language_model(call, files, tmp_path):
    command = ["label", "pointwise", files / "test.jsonl", "--candidates", files / "bm25.trec"]
    command += ["--corpus", files / "corpus.jsonl", "--store", tmp_path / "l.sqlite"]
    code, _, err = call(*command, "--cross-encoder", "x", "--model", "y")
    assert code == 1
    assert "--cross-encoder besides a language model" in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "no model"),
        (["--endpoint", "http://127.0.0.1:9/v1"], "an endpoint without a model"),
        (["--gguf", "x.gguf", "--model", "m"], "--gguf besides --model"),
        (["--model", "m", "--ray", "auto"], "--ray with a model of this machine"),
        (["--model", "m", "--endpoint", "http://127.0.0.1:9/v1", "--prompt", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_options_that_contradict_end_in_one_line(call, files, tmp_path, options, told):
    code, _, err = call("label", "rewrite", files / "test.jsonl", "--store", tmp_path / "l.sqlite", *options)
    assert code == 1
    assert err.startswith("error: ")
    assert told in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_workers_on_ray_make_the_labels_of_one_process(call, files, endpoint, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'distillir[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    url, served = endpoint
    made = {}
    for name, more in (("here", []), ("ray", ["--ray", "local", "--workers", "2", "--rate", "50"])):
        command = ["label", "rewrite", files / "test.jsonl", "--store", tmp_path / f"{name}.sqlite", "--model", "m"]
        try:
            code, told, err = call(
                *command, "--endpoint", url, "--price-in", "10", "--out", tmp_path / f"{name}.jsonl", "--json", *more
            )
        finally:
            ray.shutdown()
        assert code == 0, err
        found = json.loads(told)
        made[name] = [found[key] for key in ("stopped", "labels", "stored", "malformed", "failures", "spent")]
        made[name] += [found["usage"]["calls"], (tmp_path / f"{name}.jsonl").read_text()]
    assert made["ray"] == made["here"]
    assert len(served) == 8
    assert list((tmp_path / "ray.sqlite.shards").iterdir())


def test_likelihoods_need_a_local_model(call, files, tmp_path):
    command = ["label", "likelihood", files / "test.jsonl", "--candidates", files / "bm25.trec"]
    command += ["--corpus", files / "corpus.jsonl", "--store", tmp_path / "l.sqlite"]
    code, _, err = call(*command, "--gguf", "x.gguf")
    assert code == 1
    assert "does not tell the likelihood" in err


def test_the_small_real_model_scores_and_responds(call, files, tmp_path):
    common = ["--store", tmp_path / "l.sqlite", "--model", "smollm2-135m", "--limit", "1"]
    pool = ["--candidates", files / "bm25.trec", "--corpus", files / "corpus.jsonl", "--depth", "2"]
    code, told, err = call("label", "likelihood", files / "test.jsonl", *pool, *common)
    assert code == 0, err
    assert "3 labels made" in told
    assert " s\n" in told  # spent: seconds
    code, told, err = call("label", "respond", files / "test.jsonl", *common, "-n", "1", "--max-tokens", "8")
    assert code in (0, 1), err
    with LabelStore(tmp_path / "l.sqlite", create=False) as opened:
        (scores,) = opened.values("likelihood", "scores").values()
        assert set(scores) == {"tiger-food", "parrot-food"}
        assert all(score < 0 for score in scores.values())
        assert len(list(opened.rows("respond"))) == 1


def test_a_line_of_progress_tells_rate_time_and_money():
    now = Progress(100, 10, done=30, failed=2, seconds=16.0, spent=0.5, currency="EUR")
    assert progress_line(now) == "40 of 100 labels · 2/s · 0 min left · 0.5 EUR spent, 1.406 at the end · 2 in vain"
    assert progress_line(Progress(5, 0)) == "0 of 5 labels · 0/s · 0 USD spent"


def test_every_teacher_is_a_command():
    names = {command.name or command.callback.__name__ for command in label.registered_commands}
    assert names == {"rewrite", "listwise", "pointwise", "likelihood", "respond", "synthesize"}
    options = {
        name for command in typer.main.get_command(label).commands.values() for name in (p.name for p in command.params)
    }
    assert {"store", "endpoint", "gguf", "dry_run", "budget", "concurrency", "price_in", "prompt", "limit"} <= options
