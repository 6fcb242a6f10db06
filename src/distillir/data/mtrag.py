"""MTRAG: human conversations over four collections (Katsis et al., TACL 2025, doi 10.1162/TACL.a.19).

Folder, normalised from IBM/mt-rag-benchmark:

    conversations.jsonl[.gz]       {conversation_id, domain, turns: [{task_id, user, agent, …}]}
    queries/DOMAIN.rewrite.jsonl   {_id, text}, and DOMAIN.lastturn.jsonl
    qrels/DOMAIN.tsv               query-id, corpus-id, score
    corpus/DOMAIN.jsonl[.gz]       {_id, title, text, url}
    splits.json                    conversation_id -> train, dev or test
    synthetic/                     conversations and corpora written by a large model (optional)
    clapnq_single_turn.SPLIT.jsonl single questions with their passage (optional)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distillir.conversation import Conversation
from distillir.data.conversations import HUMAN, Context
from distillir.data.corpus import Corpus, open_or_build
from distillir.data.documents import Document, read_documents
from distillir.data.files import plain_or_packed, read_lines
from distillir.data.qrels import read_qrels
from distillir.data.rows import Counts, Row, parse_json, read_json_rows
from distillir.errors import DataError

DOMAINS = ("clapnq", "cloud", "fiqa", "govt")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class MTRAG:
    """The data set; make it with `load_mtrag`.

    Attributes:
        folder: where it lies.
        counts: turns of the human conversations; a turn without a human rewrite is dropped.
    """

    folder: Path
    counts: Counts
    _contexts: tuple[Context, ...]
    _splits: dict[str, str]

    def contexts(self, split: str | None = None, domains: Sequence[str] | None = None) -> list[Context]:
        """Turns with a human rewrite, of one split (train, dev, test) and some domains; None = all."""
        if split is not None and split not in SPLITS:
            raise DataError(self.folder, f"no split {split!r}", cure=f"use one of {', '.join(SPLITS)}")
        chosen = _chosen(self.folder, domains)
        return [c for c in self._contexts if c.domain in chosen and split in (None, self._splits[c.group])]

    def synthetic(self, domains: Sequence[str] | None = None) -> list[Context]:
        """Every turn of the synthetic conversations; relevant = the passages first used at that turn (often none).

        They have no human rewrite. Their passages are in `corpus(domain, …, synthetic=True)`.
        """
        chosen = _chosen(self.folder, domains)
        found = []
        for row in read_json_rows(plain_or_packed(self.folder, "synthetic/conversations.jsonl")):
            if row.text("domain") in chosen:
                for context, turn in _turns(row):
                    passages = dict.fromkeys(turn.texts("new_passage_ids"), 1)
                    found.append(replace(context, relevant=passages, source="mtrag-synthetic"))
        return found

    def single_turn(self, split: str) -> list[Context]:
        """Questions of ClapNQ (train or dev) with their passage; each stands alone and so is its own human rewrite."""
        found = []
        for row in read_json_rows(plain_or_packed(self.folder, f"clapnq_single_turn.{split}.jsonl")):
            name, text = row.filled("_id"), row.filled("text")
            gold = dict.fromkeys(row.texts("passage_ids"), 1)
            alone = Conversation.from_pairs([], text, id=name)
            found.append(Context(name, alone, name, {HUMAN: text}, gold, "clapnq", "clapnq"))
        return found

    def corpus(self, domain: str, build_dir: str | Path, *, synthetic: bool = False) -> Corpus:
        """The domain's passages, built once into `build_dir`.

        Args:
            domain: clapnq, cloud, fiqa or govt.
            build_dir: folder for the Arrow file.
            synthetic: add the passages of the synthetic conversations, those already here left out.
                For training only: evaluation uses the corpus without them.
        """
        _chosen(self.folder, [domain])
        own, build_dir = plain_or_packed(self.folder, f"corpus/{domain}.jsonl"), Path(build_dir)
        if not synthetic:
            return open_or_build(own, build_dir / f"mtrag.{domain}.arrow")
        extra = plain_or_packed(self.folder, f"synthetic/corpus.{domain}.jsonl")
        path = build_dir / f"mtrag.{domain}.synthetic.arrow"
        return open_or_build(own, path, extra, documents=_union(own, extra))


def load_mtrag(folder: str | Path) -> MTRAG:
    """Read conversations, rewrites, judgements and splits; corpora and extras are read when asked for.

    Raises:
        DataError: a missing or malformed file, a rewrite of an unknown turn, a conversation without a split.
    """
    folder = Path(folder)
    rewrites: dict[str, str] = {}
    last: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    for domain in DOMAINS:
        for variant, texts in (("rewrite", rewrites), ("lastturn", last)):
            for row in read_json_rows(plain_or_packed(folder, f"queries/{domain}.{variant}.jsonl")):
                texts[row.filled("_id")] = row.filled("text").removeprefix("|user|: ")
        relevant |= read_qrels(plain_or_packed(folder, f"qrels/{domain}.tsv"))
    splits = _read_splits(folder / "splits.json")
    counts, contexts = Counts(), []
    for row in read_json_rows(plain_or_packed(folder, "conversations.jsonl")):
        for context, _ in _turns(row):
            counts.read += 1
            rewrite = rewrites.pop(context.id, None)
            if rewrite is None:
                counts.dropped["no human rewrite"] += 1
                continue
            if context.group not in splits:
                row.refuse(f"conversation {context.group!r} is not in splits.json")
            if last.get(context.id, "").strip() != context.conversation.question.strip():
                counts.noted["the question differs from queries/*.lastturn.jsonl"] += 1
            graded = {document: grade for document, grade in relevant.get(context.id, {}).items() if grade > 0}
            contexts.append(replace(context, rewrites={HUMAN: rewrite}, relevant=graded, source="mtrag"))
    if rewrites:
        raise DataError(folder, f"{len(rewrites)} rewrites belong to no turn, {next(iter(rewrites))!r} the first")
    return MTRAG(folder, counts, tuple(contexts), splits)


def _turns(row: Row) -> Iterator[tuple[Context, Row]]:
    """Each turn of a conversation with the exchanges before it."""
    group, domain = row.filled("conversation_id"), row.filled("domain")
    history: list[str] = []
    for turn in row.rows("turns"):
        name, question = turn.filled("task_id"), turn.filled("user")
        yield Context(name, turn.conversation(history, question, name), group, domain=domain), turn
        history += [question, turn.text("agent")]


def _read_splits(path: Path) -> dict[str, str]:
    splits = parse_json(path, None, "\n".join(line for _, line in read_lines(path)))
    if not isinstance(splits, dict) or not all(split in SPLITS for split in splits.values()):
        raise DataError(path, f"not an object conversation -> {', '.join(SPLITS)}")
    return splits


def _union(own: Path, extra: Path) -> Iterator[Document]:
    seen = set()
    for _, document in read_documents(own):
        seen.add(document.id)
        yield document
    yield from (document for _, document in read_documents(extra) if document.id not in seen)


def _chosen(folder: Path, domains: Iterable[str] | None) -> frozenset[str]:
    chosen = frozenset(DOMAINS if domains is None else domains)
    unknown = sorted(chosen - set(DOMAINS))
    if unknown:
        raise DataError(folder, f"no domain {unknown[0]!r}", cure=f"use some of {', '.join(DOMAINS)}")
    return chosen
