"""`distillir export` on a run folder, from the command to a file an engine can be asked over."""

import gzip
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from distillir.cli.export import export
from distillir.cli.query import prune, query_terms
from distillir.errors import ConfigError, DataError
from distillir.recipes import open_retriever, read_recipe, run_sparse

RECIPE = "out: run\ncorpus: corpus.jsonl\ntrain: train.jsonl\ndev: dev.jsonl\ntraining: {max_steps: 1, batch_size: 4}\n"


@pytest.fixture(scope="module")
def run(animals, tmp_path_factory):
    folder = animals(tmp_path_factory.mktemp("export"))
    corpus = folder / "corpus.jsonl"
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    corpus.write_text("".join(json.dumps({**row, "year": 2000 + i}) + "\n" for i, row in enumerate(rows)))
    (folder / "recipe.yaml").write_text(RECIPE)
    run_sparse(read_recipe(folder / "recipe.yaml"), quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def call():
    app = typer.Typer()
    app.command()(export)

    def run(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


def sources(text):
    return [json.loads(line) for line in text.splitlines()[1::2]]


def test_documents_and_mapping(call, run, tmp_path):
    out, mapping = tmp_path / "docs.ndjson.gz", tmp_path / "mapping.json"
    arguments = ("--engine", "opensearch", "--mapping", mapping, "--keep", "year:long", "--top", "20", "--quiet")
    code, printed = call(run, out, *arguments)
    assert code == 0
    assert "documents 40" in printed
    assert "--engine opensearch --form neural_sparse" in printed
    rows = sources(gzip.decompress(out.read_bytes()).decode())
    assert [row["id"] for row in rows][:2] == ["otter-food", "otter-sleep"]
    assert (rows[0]["title"], rows[0]["year"]) == ("otter", 2000)
    assert len(rows[0]["vector"]) == 20
    properties = json.loads(mapping.read_text())["mappings"]["properties"]
    assert properties["vector"] == {"type": "rank_features"}
    assert properties["year"] == {"type": "long"}


def test_a_query_over_the_file_finds_what_search_finds(call, run, tmp_path):
    call(run, tmp_path / "docs.ndjson", "--engine", "elasticsearch", "--quiet")
    messages = [{"role": "user", "content": "where does the tiger live"}]
    with open_retriever(run) as retriever:
        terms = retriever.query_terms(messages)
        hits = retriever.retrieve(messages, 3)
    vectors = {row["id"]: row["vector"] for row in sources((tmp_path / "docs.ndjson").read_text())}
    scores = {name: sum(w * vector.get(term, 0) for term, w in terms.items()) for name, vector in vectors.items()}
    assert sorted(scores, key=scores.get, reverse=True)[:3] == [hit.id for hit in hits]
    assert [scores[hit.id] for hit in hits] == pytest.approx([hit.score for hit in hits], rel=1e-5)


def test_parts_as_json_by_dimension(call, run, tmp_path):
    arguments = ("--engine", "opensearch", "--form", "neural_sparse_ann", "--index", "docs", "--field", "emb")
    code, printed = call(run, tmp_path / "parts", *arguments, "--max-bytes", "20000", "--json", "--quiet")
    assert code == 0
    told = json.loads(printed)
    assert told["documents"] == 40
    assert told["form"] == "neural_sparse_ann"
    assert len(told["files"]) > 1
    texts = [(tmp_path / "parts" / f"{i:05d}.ndjson").read_text() for i in range(1, len(told["files"]) + 1)]
    assert sum(len(text.encode()) for text in texts) == told["bytes"]
    rows = [row for text in texts for row in sources(text)]
    assert len(rows) == 40
    assert sum(len(row["emb"]) for row in rows) == told["terms"]
    assert all(name.isdigit() for row in rows for name in row["emb"])
    assert json.loads(texts[0].splitlines()[0]) == {"index": {"_index": "docs", "_id": "otter-food"}}


def test_by_dimension_for_any_form(call, run, tmp_path):
    call(run, tmp_path / "docs.ndjson", "--engine", "elasticsearch", "--by-dimension", "--top", "2", "--quiet")
    rows = sources((tmp_path / "docs.ndjson").read_text())
    assert all(len(row["vector"]) == 2 and all(map(str.isdigit, row["vector"])) for row in rows)


def test_mistakes_are_met_before_anything_is_written(call, run, tmp_path):
    out = tmp_path / "docs.ndjson"
    for arguments, message in (
        (("--engine", "solr"), "opensearch, elasticsearch"),
        (("--engine", "opensearch", "--form", "sparse_vector"), "neural_sparse"),
        (("--engine", "opensearch", "--keep", "year:int"), "'int'"),
        (("--engine", "opensearch", "--field", "text"), "'text'"),
        (("--engine", "opensearch", "--ratio", "2"), "ratio is 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            call(run, out, *arguments)
    with pytest.raises(DataError, match="run folder"):
        call(tmp_path, out, "--engine", "opensearch")
    assert not list(tmp_path.iterdir())


PAGE = Path(__file__).parents[2] / "docs" / "your-engine.md"


@pytest.fixture
def documented(run, tmp_path, monkeypatch):
    """The folder the page speaks of: `my-run` and `chats.jsonl`."""
    (tmp_path / "my-run").symlink_to(run)
    (tmp_path / "chats.jsonl").symlink_to(run.parent / "test.jsonl")
    monkeypatch.chdir(tmp_path)


def test_commands_of_the_page(documented):
    app = typer.Typer()
    for command in (export, prune, query_terms):
        app.command(command.__name__.replace("_", "-"))(command)
    commands = re.findall(r"^ *(distillir .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, (command, done.exception)
        assert done.stdout


def test_python_of_the_page(documented):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    said = {}
    exec(block, said)
    said["retriever"].close()
    assert said["body"]["query"]["bool"]["filter"][0] == {"term": {"lang": {"value": "en"}}}
    assert "tiger" in said["terms"]
    asked = said["body"]["query"]["bool"]["must"][0]["neural_sparse"]["vector"]["query_tokens"]
    assert list(asked) == list(said["terms"])[:32]
