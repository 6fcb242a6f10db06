"""DSTC11 track 5 (SK-TOD): knowledge-seeking turns over reviews and FAQs of hotels and restaurants.

Folder, normalised from alexa/dstc11-track5 (data licence CDLA-Sharing 1.0):

    conversations.jsonl[.gz]  {_id, turns: [{speaker, text}], response, passage_ids, split}
    corpus.jsonl[.gz]         {_id, title = name of the entity, text, group = entity}
    qrels.tsv                 query-id, corpus-id, score
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillir.conversation import Conversation, Turn
from distillir.data.conversations import Context
from distillir.data.corpus import Corpus, open_or_build
from distillir.data.documents import read_documents
from distillir.data.files import plain_or_packed
from distillir.data.mtrag import SPLITS
from distillir.data.qrels import read_qrels
from distillir.data.rows import Counts, Row, read_json_rows
from distillir.errors import ConversationError, DataError

ROLES = {"user": "user", "agent": "assistant"}


@dataclass(frozen=True)
class DSTC11:
    """The data set; make it with `load_dstc11`.

    Attributes:
        folder: where it lies.
        counts: conversations read and dropped.
        entities: context id -> the entities its gold snippets are about, most often one: the groups to search within.
        responses: context id -> what the human agent answered.
    """

    folder: Path
    counts: Counts
    entities: dict[str, tuple[str, ...]]
    responses: dict[str, str]
    _contexts: tuple[Context, ...]
    _splits: dict[str, str]

    def contexts(self, split: str | None = None) -> list[Context]:
        """Contexts of a split (train, dev, test); None = all. Those with one first utterance share their group."""
        if split is not None and split not in SPLITS:
            raise DataError(self.folder, f"no split {split!r}", cure=f"use one of {', '.join(SPLITS)}")
        return [context for context in self._contexts if split in (None, self._splits[context.id])]

    def corpus(self, build_dir: str | Path) -> Corpus:
        """All snippets with their entity as group, built once into `build_dir`."""
        return open_or_build(plain_or_packed(self.folder, "corpus.jsonl"), Path(build_dir) / "dstc11.arrow")


def load_dstc11(folder: str | Path) -> DSTC11:
    """Read conversations and judgements.

    Raises:
        DataError: a missing or malformed file, a gold snippet that the corpus lacks.
    """
    folder, counts = Path(folder), Counts()
    entity_of = {document.id: document.group for _, document in read_documents(plain_or_packed(folder, "corpus.jsonl"))}
    qrels = read_qrels(folder / "qrels.tsv")
    contexts: list[Context] = []
    splits: dict[str, str] = {}
    responses: dict[str, str] = {}
    entities: dict[str, tuple[str, ...]] = {}
    first_with: dict[str, str] = {}
    for row in read_json_rows(plain_or_packed(folder, "conversations.jsonl")):
        counts.read += 1
        name, split = row.filled("_id"), row.text("split")
        if split not in SPLITS:
            row.refuse(f"the split is {split!r}", f"use one of {', '.join(SPLITS)}")
        conversation = _conversation(row, name)
        relevant = {document: grade for document, grade in qrels.get(name, {}).items() if grade > 0}
        if not relevant:
            counts.dropped["no relevant snippet"] += 1
            continue
        for document in relevant:
            if document not in entity_of:
                row.refuse(f"the relevant snippet {document!r} is not in the corpus")
        # Paraphrases of one conversation open alike; splits keep them together and so must cross-validation.
        group = first_with.setdefault(conversation.turns[0].content, name)
        contexts.append(Context(name, conversation, group, relevant=relevant, source="dstc11", domain="dstc11"))
        splits[name], responses[name] = split, row.text("response")
        entities[name] = tuple(sorted({entity_of[document] for document in relevant}))
    return DSTC11(folder, counts, entities, responses, tuple(contexts), splits)


def _conversation(row: Row, name: str) -> Conversation:
    turns = []
    for turn in row.rows("turns"):
        speaker = turn.text("speaker")
        if speaker not in ROLES:
            row.refuse(f"unknown speaker {speaker!r}", f"use {' or '.join(ROLES)}")
        turns.append(Turn(ROLES[speaker], turn.text("text")))
    try:
        return Conversation(tuple(turns), name)
    except ConversationError as error:
        row.refuse(error.cause, error.cure)
