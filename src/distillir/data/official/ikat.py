"""TREC iKAT 2023-2025: assistants that know something of their user (Aliannejadi et al., arXiv 2401.01330).

YEAR_test_topics.json is an array of {number, title, ptkb, turns: [{turn_id, utterance, resolved_utterance,
response}]}; in 2025 the turns are `responses` and say user_utterance. Judgements are TREC's, of queries NUMBER_TURN,
where they are published. Passages (ClueWeb22-B, under a licence that is signed) are JSON lines {id, contents},
packed or not.

Topics were read in the organisers' repository; names of the judged queries and of the passages' files were not
verified. What is known of the user (`ptkb`) is no turn of the conversation; the resolved utterances use it, the
contexts do not have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from distillir.data.conversations import HUMAN, Context
from distillir.data.official.arrays import read_json_array
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, documents, judgements
from distillir.data.official.tables import passages
from distillir.data.qrels import Qrels, read_qrels
from distillir.errors import DataError


def parts(year: int, found: Found, folder: Path) -> list[Part]:
    topics, qrels, texts = found["topics"][0], found["qrels"], found["passages"]
    made = [documents("corpus.jsonl", texts, lambda: passages(texts))] if texts else []
    judged = partial(read_qrels, qrels[0], "trec") if qrels else None
    asked = partial(turns, topics, qrels[0] if qrels else None, year)
    made.append(contexts("test.jsonl", (topics, *qrels), asked, judged))
    if judged:
        made.append(judgements("qrels.test.tsv", qrels, judged))
    return made


def turns(path: Path, judged: Path | None, year: int) -> Iterator[Context]:
    """Every turn with the history before it and its resolved utterance; group = the conversation.

    Raises:
        DataError: malformed topics, or judgements of other queries alone.
    """
    qrels: Qrels = {} if judged is None else read_qrels(judged, "trec")
    met = 0
    for topic in read_json_array(path):
        number = topic.values.get("number")
        if isinstance(number, bool) or not isinstance(number, int | str) or str(number).strip() == "":
            topic.refuse("field 'number' is neither a number nor a text")
        history: list[str] = []
        for turn in topic.rows("turns" if "turns" in topic.values else "responses"):
            name = f"{number}_{turn.get('turn_id', int, 'a number')}"
            asked = turn.text("utterance" if "utterance" in turn.values else "user_utterance")
            resolved = turn.text("resolved_utterance")
            relevant = {document: grade for document, grade in qrels.get(name, {}).items() if grade > 0}
            met += name in qrels
            talk = turn.conversation(history, asked, name)
            rewrites = {HUMAN: resolved} if resolved.strip() else {}
            yield Context(name, talk, f"ikat{year}-{number}", rewrites, relevant, f"ikat{year}")
            history += [asked, turn.text("response")]
    if judged is not None and not met:
        raise DataError(
            judged,
            f"none of its queries is a turn of {path.name}, such as {next(iter(qrels))!r}",
            cure="fetch both again",
        )


def _set(year: int, count: Count | None = None) -> DataSet:
    return DataSet(
        f"ikat{year}",
        f"TREC iKAT {year}: personal conversations with resolved utterances, to test on",
        ("disco", "kld_contrastive"),
        "topics as their repository states; ClueWeb22-B under a signed licence",
        f"https://github.com/irlabamsterdam/iKAT and https://trec.nist.gov/data/ikat{year}.html",
        (
            Source("topics", (f"{year}_test_topics.json", f"{year}/data/{year}_test_topics.json"), "topics"),
            Source(
                "qrels", (f"{year}-qrels.all-turns.txt", f"{year}-qrels.txt", f"{year}-qrels*.txt"), "judgements", False
            ),
            Source(
                "passages",
                ("*passages*.jsonl", "passages/*.jsonl"),
                "116.8 million passages as {id, contents}",
                needed=False,
                corpus=True,
            ),
        ),
        partial(parts, year),
        (*([count] if count else []), Count(("corpus.jsonl",), 116_838_987)),
        "names of judged queries and of the passages' files; topics are verified",
    )


SETS = tuple(_set(year) for year in (2023, 2024, 2025))
