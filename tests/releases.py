"""Small releases in their owners' layouts, one function a data set: each writes a folder and gives it back."""

import bz2
import gzip
import json
from pathlib import Path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".gz", ".bz2"):
        path.write_bytes((gzip if path.suffix == ".gz" else bz2).compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def lines(path: Path, *rows: dict) -> Path:
    return put(path, "".join(json.dumps(row) + "\n" for row in rows))


def array(path: Path, *rows: dict) -> Path:
    return put(path, json.dumps(rows, indent=2))


def topiocqa(folder: Path) -> Path:
    def turn(conversation, number, question, answer, context):
        return {
            "Conversation_no": conversation,
            "Turn_no": number,
            "Question": question,
            "Answer": answer,
            "Topic": "t",
            "Topic_section": "s",
            "Rationale": "r",
            "Is_nq": False,
            "Context": context,
        }

    def gold(conversation, number, passage):
        positives = [{"title": "t", "text": "x", "score": 1, "passage_id": passage}]
        return {
            "conv_id": conversation,
            "turn_id": number,
            "question": "q [SEP] q",
            "answers": ["a"],
            "positive_ctxs": positives,
            "negative_ctxs": [],
            "hard_negative_ctxs": [],
        }

    train = [
        turn(1, 1, "who wrote dune", "frank herbert", []),
        turn(1, 2, "when?", "1965", ["who wrote dune", "frank herbert"]),
        turn(50, 1, "who wrote emma", "jane austen", []),
    ]
    array(folder / "topiocqa_train.json", *train)
    array(folder / "topiocqa_dev.json", turn(1, 1, "what is splade", "UNANSWERABLE", []))
    golds = [gold(1, 1, "1"), gold(1, 2, "2"), gold(50, 1, "3")]
    array(folder / "data/retriever/all_history/train.json", *golds)
    array(folder / "data/retriever/all_history/dev.json", gold(1, 1, "4"))
    table = 'id\ttext\ttitle\n1\t"Dune is by ""Frank"" Herbert"\tDune\n2\tIt is of 1965\tDune\n'
    table += "3\tEmma\tEmma\n4\tSPLADE\tIR\n"
    put(folder / "full_wiki_segments.tsv", table)
    return folder


def qrecc(folder: Path) -> Path:
    def turn(conversation, number, question, rewrite, context, *passages):
        return {
            "Conversation_no": conversation,
            "Turn_no": number,
            "Question": question,
            "Context": context,
            "Truth_rewrite": rewrite,
            "Truth_answer": "a",
            "Truth_passages": list(passages),
            "Conversation_source": "quac",
        }

    train = [
        turn(1, 1, "What happened?", "What happened to Dune?", [], "http://a b/_p0"),
        turn(1, 2, "And then?", "What happened then?", ["What happened?", "a"]),
        turn(50, 1, "Who?", "Who is it?", []),
    ]
    array(folder / "scai-qrecc21-training-turns.json", *train)
    array(folder / "scai-qrecc21-test-turns.json", turn(1, 1, "Why?", "Why so?", [], "http://c/_p1"))
    for i, name in enumerate(("commoncrawl", "wayback", "wayback-backfill")):
        lines(folder / f"passages/{name}/part.jsonl.gz", {"id": f"p{i}", "contents": name})
    lines(folder / "passages/commoncrawl/other.jsonl.gz", {"id": "http://a b/_p0", "contents": "dune"})
    return folder


def orquac(folder: Path) -> Path:
    before = [{"question": "what is dune", "answer": {"text": "a book", "answer_start": 0}}]
    asked = [
        {
            "qid": "C_a_q#0",
            "question": "what is dune",
            "rewrite": "what is dune",
            "history": [],
            "evidences": ["e"],
            "retrieval_labels": [1],
        },
        {"qid": "C_a_q#1", "question": "by whom", "rewrite": "who wrote dune", "history": before},
    ]
    lines(folder / "preprocessed/train.txt", *asked)
    for split in ("dev", "test"):
        row = {"qid": f"C_{split}_q#0", "question": "q", "rewrite": "r", "history": []}
        lines(folder / f"preprocessed/{split}.txt", row)
    judged = {"C_a_q#1": {"1@0": 1, "2@0": 0}, "C_test_q#0": {"1@0": 1}}
    put(folder / "qrels.txt.gz", json.dumps(judged))
    lines(
        folder / "all_blocks.txt.gz", {"title": "Dune", "text": "Dune is by Herbert", "id": "1@0", "aid": "1", "bid": 0}
    )
    return folder


def canard(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = [
            {
                "History": ["Zappa", "Disbandment"],
                "QuAC_dialog_id": f"C_{split}",
                "Question": "What group?",
                "Question_no": 1,
                "Rewrite": "What group disbanded?",
            },
            {
                "History": ["Zappa", "Disbandment", "What group?", "Mothers"],
                "QuAC_dialog_id": f"C_{split}",
                "Question": "When?",
                "Question_no": 2,
                "Rewrite": "When did they?",
            },
        ]
        array(folder / f"{split}.json", *rows)
    return folder


def msmarco(folder: Path) -> Path:
    put(folder / "collection.tsv", '0\tThe "presence" of\n1\tbasal ganglia\n2\tother\n')
    put(folder / "queries.train.tsv", "10\twhat is it\n11\tnever judged\n")
    put(folder / "qrels.train.tsv", "10\t0\t1\t1\n")
    put(folder / "queries.dev.small.tsv", "20\twhere\n")
    put(folder / "qrels.dev.small.tsv", "20\t0\t0\t1\n")
    for year in ("2019", "2020"):
        put(folder / f"msmarco-test{year}-queries.tsv.gz", f"{year}1\tasked in {year}\n{year}2\tunjudged\n")
        put(folder / f"{year}qrels-pass.txt", f"{year}1 Q0 0 3\n{year}1 Q0 1 0\n")
    return folder


def beir(folder: Path) -> Path:
    lines(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "T", "text": "one", "metadata": {}},
        {"_id": "d2", "title": "", "text": "two"},
    )
    lines(
        folder / "queries.jsonl",
        {"_id": "q1", "text": "asked", "metadata": {}},
        {"_id": "q2", "text": "trained"},
        {"_id": "q3", "text": "not judged"},
    )
    put(folder / "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    put(folder / "qrels/train.tsv", "query-id\tcorpus-id\tscore\nq2\td2\t1\n")
    return folder


def dpr(folder: Path, short: str = "nq", field: str = "passage_id") -> Path:
    put(folder / "psgs_w100.tsv.gz", 'id\ttext\ttitle\n1\t"Aaron ""Aharon"" was"\tAaron\n2\tThe Nile is long\tNile\n')

    def row(question, passage):
        positives = [{"title": "Nile", "text": "x", "score": 1000, "title_score": 1, field: passage}]
        return {
            "dataset": "nq_train_psgs_w100",
            "question": question,
            "answers": ["a"],
            "positive_ctxs": positives,
            "negative_ctxs": [],
            "hard_negative_ctxs": [],
        }

    array(folder / f"biencoder-{short}-train.json", row("where is the nile", "2"), row("who is aaron", "1"))
    array(folder / f"biencoder-{short}-dev.json", row("how long is the nile", "2"))
    put(folder / f"{short}-test.qa.csv", "who was he\t['Aharon', \"Aaron's\"]\nwhich river\t['Nile']\n")
    return folder


CAST_QRELS = "{0}_1 0 MARCO_0 2\n{0}_1 0 CAR_a 0\n{0}_2 0 CAR_a 1\n"


def cast(folder: Path, year: int) -> Path:
    topic = {2019: 31, 2020: 81, 2021: 106, 2022: 132}[year]
    asked = [{"number": 1, "raw_utterance": "What is cancer?"}, {"number": 2, "raw_utterance": "Is it treatable?"}]
    rewrites = ["What is cancer?", "Is cancer treatable?"]
    if year == 2019:
        array(
            folder / "2019/data/evaluation/evaluation_topics_v1.0.json", {"number": topic, "title": "c", "turn": asked}
        )
        table = "".join(f"{topic}_{i}\t{text}\n" for i, text in enumerate(rewrites, 1))
        put(folder / "2019/data/evaluation/evaluation_topics_annotated_resolved_v1.0.tsv", table)
        put(folder / "2019/data/2019qrels.txt", CAST_QRELS.format(topic))
    elif year == 2020:
        ids = ["MARCO_0", "CAR_a"]
        turns = [
            {**a, "manual_rewritten_utterance": r, "manual_canonical_result_id": i}
            for a, r, i in zip(asked, rewrites, ids, strict=True)
        ]
        array(folder / "2020/2020_manual_evaluation_topics_v1.0.json", {"number": topic, "turn": turns})
        put(folder / "2020/2020qrels.txt", CAST_QRELS.format(topic))
    elif year == 2021:
        turns = [
            {
                **a,
                "manual_rewritten_utterance": r,
                "passage": f"about {i}",
                "canonical_result_id": "D1",
                "passage_id": i,
            }
            for i, (a, r) in enumerate(zip(asked, rewrites, strict=True))
        ]
        array(folder / "2021/2021_manual_evaluation_topics_v1.0.json", {"number": topic, "turn": turns})
        put(folder / "2021/trec-cast-qrels-docs.2021.qrel", f"{topic}_1 0 MARCO_D1 1\n")
    else:
        turns = [
            {
                "number": "1-1",
                "participant": "User",
                "utterance": "What was it?",
                "manual_rewritten_utterance": "What was COP26?",
            },
            {"number": "1-2", "parent": "1-1", "participant": "System", "response": "A summit.", "provenance": ["M"]},
            {
                "number": "1-3",
                "parent": "1-2",
                "participant": "User",
                "utterance": "And?",
                "manual_rewritten_utterance": "And COP26?",
            },
            {
                "number": "2-1",
                "parent": "1-2",
                "participant": "User",
                "utterance": "Why?",
                "manual_rewritten_utterance": "Why COP26?",
            },
        ]
        array(folder / "2022/2022_evaluation_topics_tree_v1.0.json", {"number": topic, "turn": turns})
        put(folder / "2022/cast2022.qrel", f"{topic}_1-3 0 M 3\n")
    if year in (2019, 2020):
        put(folder / "collection.tsv", "0\tcancer is\n1\tother\n")
        lines(folder / "car.jsonl", {"id": "a", "contents": "treatable"})
    return folder


def ikat(folder: Path, year: int) -> Path:
    turns = [
        {
            "turn_id": 1,
            "utterance": "a diet?",
            "resolved_utterance": "a vegan diet?",
            "response": "this",
            "ptkb_provenance": [1],
            "response_provenance": ["c:1"],
        },
        {"turn_id": 2, "utterance": "Yes.", "resolved_utterance": "Yes, that.", "response": "good"},
    ]
    topic = {"number": {2023: "9-1", 2024: 0, 2025: "1-1"}[year], "title": "Diet", "ptkb": {"1": "I'm vegan."}}
    if year == 2025:
        turns = [{**{k: v for k, v in t.items() if k != "utterance"}, "user_utterance": t["utterance"]} for t in turns]
        topic |= {"ptkb": ["I'm vegan."], "responses": turns}
    else:
        topic |= {"turns": turns}
    array(folder / f"{year}_test_topics.json", topic)
    name = "2023-qrels.all-turns.txt" if year == 2023 else f"{year}-qrels.txt"
    put(folder / name, f"{topic['number']}_2 0 clueweb22-en0035-25-01897:1 4\n")
    lines(folder / "ikat_passages_00.jsonl.bz2", {"id": "clueweb22-en0035-25-01897:1", "contents": "diets", "url": "u"})
    return folder


def mtrag(folder: Path) -> Path:
    tasks = []
    for domain in ("clapnq", "cloud", "fiqa", "govt"):
        said = [
            {"speaker": "user", "text": "hi"},
            {"speaker": "agent", "text": "hello"},
            {"speaker": "user", "text": "it?"},
        ]
        tasks += [
            {"conversation_id": domain, "task_id": f"{domain}<::>1", "input": said[:1], "Collection": "mt-rag"},
            {"conversation_id": domain, "task_id": f"{domain}<::>2", "input": said, "Collection": "mt-rag"},
        ]
        inside = folder / "human/retrieval_tasks" / domain
        lines(inside / f"{domain}_rewrite.jsonl", {"_id": f"{domain}<::>2", "text": f"|user|: what of {domain}?"})
        put(inside / "qrels/dev.tsv", f"query-id\tcorpus-id\tscore\n{domain}<::>2\tp\t1\n")
        row = {"_id": "p", "id": "p", "title": domain, "text": "passage", "url": "u"}
        lines(folder / f"corpora/passage_level/{domain}.jsonl", row)
    lines(folder / "human/generation_tasks/reference.jsonl", *tasks)
    return folder


def blended(folder: Path) -> Path:
    for i, split in enumerate(("train", "valid", "test")):
        row = {
            "personas": [["i ski."], ["i cook.", f"i read {i}."]],
            "context_dataset": "wizard_of_wikipedia" if split == "train" else "convai2",
            "additional_context": "Cooking",
            "free_turker_utterance": "hi there",
            "guided_turker_utterance": "hello you",
            "dialog": [[0, "what do you do"], [1, f"i cook {split}"], [0, "nice"], [1, "yes it is"]],
            "suggestions": [],
        }
        array(folder / f"{split}.json", row)
    return folder


def convai2(folder: Path) -> Path:
    talk = (
        "1 your persona: i ski.\n2 your persona: i read.\n3 hi .\thello !\t\tno|hello !\n4 why ?\tbecause .\n"
        "1 your persona: i cook.\n2 hey .\tyes .\n"
    )
    put(folder / "train_self_original.txt", talk)
    put(folder / "valid_self_original_no_cands.txt", "1 your persona: a.\n2 b ?\tc .\n")
    return folder
