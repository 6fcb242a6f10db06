"""TREC CAsT 2019-2022 as its organisers publish it (Dalton et al., arXiv 2003.13624).

Topics are arrays of {number, turn: [{number, …}]}: raw_utterance in 2019, whose rewrites are a table
TOPIC_TURN<TAB>text; raw_utterance, manual_rewritten_utterance and manual_canonical_result_id in 2020; with the
answer's text as `passage` in 2021; a tree of {number, parent, participant, utterance or response,
manual_rewritten_utterance} in 2022. Judgements are TREC's; those of 2021 are of documents, whose passages are named
DOCUMENT-NUMBER.

Topics and judgements were read in the organisers' repository. Passages are other owners' and come in their own
formats: MS MARCO's collection.tsv (2019, 2020), and whatever is turned into JSON lines {id, contents}, as Pyserini
reads them, in car*.jsonl (2019, 2020) or passages*.jsonl (2021, 2022). TREC CAR's own CBOR is not read. The answers
of 2020 are passages, so they are empty without them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distillir.data.cast import load_cast
from distillir.data.conversations import Context
from distillir.data.documents import Document
from distillir.data.official import msmarco
from distillir.data.official.arrays import read_json_array
from distillir.data.official.dataset import Count, DataSet, Found, Part, Source, contexts, documents, judgements
from distillir.data.official.tables import passages, read_table
from distillir.data.qrels import read_qrels, write_qrels
from distillir.data.rows import Row
from distillir.errors import DataError

ANSWER = "answer"  # after a turn's number: the system's turn that answers it


def parts(year: int, found: Found, folder: Path) -> list[Part]:
    made = []
    if texts := _texts(found):
        made.append(documents("corpus.jsonl", texts, lambda: collection(found)))
    sources = found["topics"] + found.get("rewrites", ()) + found["qrels"] + (texts if year == 2020 else ())
    made.append(contexts("test.jsonl", sources, lambda: turns(year, found)))
    made.append(judgements("qrels.test.tsv", found["qrels"], partial(read_qrels, found["qrels"][0], "trec")))
    return made


def collection(found: Found) -> Iterator[Document]:
    """Passages of all collections that are there, under the ids that judgements use."""
    if found.get("marco"):
        yield from msmarco.passages(found["marco"][0], "MARCO_")
    if found.get("car"):
        yield from passages(found["car"], prefix="CAR_")
    yield from passages(found["passages"])


def turns(year: int, found: Found) -> list[Context]:
    """User turns with a manual rewrite and what was judged, read as every CAsT file is."""
    rewrites = dict(_rewrites(found["rewrites"][0])) if found.get("rewrites") else {}
    said = answers(found) if year == 2020 and _texts(found) else {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_qrels(folder / f"qrels.{year}.txt", read_qrels(found["qrels"][0], "trec"))
        with (folder / "topics.jsonl").open("w", encoding="utf-8") as out:
            for topic in read_json_array(found["topics"][0]):
                out.write(json.dumps(normalised(topic, year, rewrites, said)) + "\n")
        return load_cast(folder).contexts([year])


def normalised(topic: Row, year: int, rewrites: Mapping[str, str], said: Mapping[str, str]) -> dict[str, Any]:
    """A topic as `load_cast` reads it.

    Args:
        topic: as released.
        year: of it.
        rewrites: TOPIC_TURN → rewrite, where they are a table.
        said: id of a passage → its text, where answers are passages.
    """
    number, made = topic.get("number", int, "a number"), []
    before: str | None = None
    for turn in topic.rows("turn"):
        if "participant" in turn.values:
            made.append(_of_tree(turn, number))
            continue
        name = str(turn.get("number", int, "a number"))
        rewrite = turn.values.get("manual_rewritten_utterance", rewrites.get(f"{number}_{name}"))
        row = {"_id": f"{number}_{name}", "participant": "User", "parent": before, "user": turn.filled("raw_utterance")}
        made.append(row | ({"rewrite": rewrite} if rewrite is not None else {}))
        before = name
        answer = turn.values.get("passage") or said.get(str(turn.values.get("manual_canonical_result_id")))
        if answer:
            made.append({"_id": f"{number}_{name}-{ANSWER}", "participant": "System", "parent": name, "agent": answer})
            before = f"{name}-{ANSWER}"
    return {"year": year, "split": "test", "topic": number, "title": str(topic.values.get("title", "")), "turns": made}


def answers(found: Found) -> dict[str, str]:
    """Texts of the passages that the topics give as answers; those that no collection has are left out."""
    wanted = {
        str(turn.values["manual_canonical_result_id"])
        for topic in read_json_array(found["topics"][0])
        for turn in topic.rows("turn")
        if "manual_canonical_result_id" in turn.values
    }
    texts: dict[str, str] = {}
    for document in collection(found):
        if document.id in wanted:
            texts[document.id] = document.text
            if len(texts) == len(wanted):
                break
    return texts


def _of_tree(turn: Row, topic: int) -> dict[str, Any]:
    row = {
        "_id": f"{topic}_{turn.filled('number')}",
        "participant": turn.values["participant"],
        "parent": turn.values.get("parent"),
    }
    if row["participant"] == "System":
        return row | {"agent": turn.text("response")}
    rewrite = turn.values.get("manual_rewritten_utterance")
    return row | {"user": turn.filled("utterance")} | ({} if rewrite is None else {"rewrite": rewrite})


def _rewrites(path: Path) -> Iterator[tuple[str, str]]:
    for line, (name, text) in read_table(path, ("turn", "rewrite")):
        if not name.strip() or not text.strip():
            raise DataError(path, "a rewrite needs a turn and a text", line=line)
        yield name.strip(), text


def _texts(found: Found) -> tuple[Path, ...]:
    return tuple(path for key in ("marco", "car", "passages") for path in found.get(key, ()))


OLD = (
    Source("marco", ("collection.tsv", "*/collection.tsv"), "MS MARCO passages", needed=False),
    Source("car", ("car*.jsonl", "*/car*.jsonl"), "TREC CAR paragraphs as {id, contents}", needed=False),
)
NEW = Source("passages", ("passages*.jsonl", "passages/*.jsonl"), "passages as {id, contents}", needed=False)
WHERE = "https://github.com/daltonj/treccastweb; judgements also at https://trec.nist.gov/data/cast.html"
UNVERIFIED = "the passages' JSON lines; topics and judgements are verified"


def _set(year: int, topics: tuple[str, ...], qrels: tuple[str, ...], more: tuple[Source, ...], count: Count) -> DataSet:
    return DataSet(
        f"cast{year}",
        f"TREC CAsT {year}: topics with manual rewrites, to test on",
        ("disco", "kld_contrastive"),
        "MIT (topics); each collection its own",
        WHERE,
        (Source("topics", topics, "topics"), Source("qrels", qrels, "judgements"), *more, NEW),
        partial(parts, year),
        (count,),
        UNVERIFIED,
    )


TEST = ("test.jsonl",)
SETS = (
    _set(
        2019,
        ("2019/data/evaluation/evaluation_topics_v1.0.json", "evaluation_topics_v1.0.json"),
        ("2019/data/2019qrels.txt", "2019qrels.txt"),
        (
            Source(
                "rewrites",
                (
                    "2019/data/evaluation/evaluation_topics_annotated_resolved_v1.0.tsv",
                    "evaluation_topics_annotated_resolved_v1.0.tsv",
                ),
                "rewrites",
            ),
            *OLD,
        ),
        Count(TEST, 479, 50),
    ),
    _set(
        2020,
        ("2020/2020_manual_evaluation_topics_v1.0.json", "2020_manual_evaluation_topics_v1.0.json"),
        ("2020/2020qrels.txt", "2020qrels.txt"),
        OLD,
        Count(TEST, 216, 25),
    ),
    _set(
        2021,
        ("2021/2021_manual_evaluation_topics_v1.0.json", "2021_manual_evaluation_topics_v1.0.json"),
        ("2021/trec-cast-qrels-docs.2021.qrel", "trec-cast-qrels-docs.2021.qrel"),
        (),
        Count(TEST, 239, 26),
    ),
    _set(
        2022,
        ("2022/2022_evaluation_topics_tree_v1.0.json", "2022_evaluation_topics_tree_v1.0.json"),
        ("2022/cast2022.qrel", "cast2022.qrel"),
        (),
        Count(TEST, 205, 18),
    ),
)
