"""Queries that are no turns: given, cropped, written by a model."""

import gzip
import json

import pytest

from distillir.data import Corpus, cropped_sentences, read_queries, written_questions
from distillir.errors import DataError

TEXTS = {
    "a": "The otter eats fish in the river. It sleeps. In winter it hunts under the ice for days.",
    "b": "Short one. Too short.",
    "c": "A falcon dives at three hundred kilometres an hour, Dr. Smith says.",
}


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    rows = [{"_id": name, "title": "t", "text": text} for name, text in TEXTS.items()]
    return Corpus.build(rows, tmp_path / "corpus.arrow")


def test_given_queries_are_contexts_of_one_turn(tmp_path):
    rows = [{"_id": "1", "text": "who wrote dune", "metadata": {}}, {"_id": "2", "text": "and when"}]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "queries.jsonl").write_bytes(content)
    (tmp_path / "queries.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "queries.tsv").write_text("1\twho wrote dune\n2\tand when\n", encoding="utf-8")
    for name in ("queries.jsonl", "queries.jsonl.gz", "queries.tsv"):
        found = read_queries(tmp_path / name)
        assert [(c.id, c.conversation.question, c.conversation.depth) for c in found] == [
            ("1", "who wrote dune", 1),
            ("2", "and when", 1),
        ]
        assert found[0].source == "query"


@pytest.mark.parametrize(
    ("content", "reason"),
    [("1 who\n", "1: no tab"), ("1\twho\n1\twhen\n", "2: query '1' is given twice"), ("1\t \n", "1: a query needs")],
)
def test_bad_rows_are_named(tmp_path, content, reason):
    (tmp_path / "queries.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        read_queries(tmp_path / "queries.tsv")


def test_crops_are_whole_sentences_of_the_document_they_name(corpus):
    found = {c.id: c for c in cropped_sentences(corpus, 10, seed=1)}
    assert set(found) == {"crop-a", "crop-c"}  # no sentence of b has five words
    for name, context in found.items():
        document = name.removeprefix("crop-")
        assert context.relevant == {document: 1}
        assert context.conversation.question in TEXTS[document]
        assert context.conversation.question.endswith(".")
        assert len(context.conversation.question.split()) >= 5
    assert len(cropped_sentences(corpus, 1, seed=1)) == 1
    drawn = {cropped_sentences(corpus, 3, seed=s)[0].conversation.question for s in range(20)}
    assert len(drawn) == 3  # every fitting sentence is drawn by some seed
    assert cropped_sentences(corpus, 2, seed=7) == cropped_sentences(corpus, 2, seed=7)
    with pytest.raises(DataError, match="no document has a sentence of 50 to 60 words"):
        cropped_sentences(corpus, 1, least=50, most=60)


def test_written_questions_come_from_the_labels_of_passages():
    value = {"messages": [{"role": "user", "content": "What eats fish?"}, {"role": "assistant", "content": "Otters."}]}
    (one,) = written_questions({"a": value})
    assert (one.id, one.conversation.question, one.relevant) == ("question-a", "What eats fish?", {"a": 1})
