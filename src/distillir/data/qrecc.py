"""QReCC: questions of web, QuAC and CAsT conversations with rewrites (Anantha et al., NAACL 2021, arXiv 2010.04898).

One object a line: {_id = CONVERSATION_TURN, history = [question, answer, …], question, rewrite, passage_ids}; an
unanswered question has an empty answer. The passages (54 million) are a separate download: `relevant` names them,
with "qrecc" as their domain.
"""

from __future__ import annotations

from pathlib import Path

from distillir.data.canard import Loaded, load_rewrites


def load_qrecc(path: str | Path) -> Loaded:
    """Contexts with a human rewrite; group = the conversation.

    Raises:
        DataError: naming the line.
    """
    return load_rewrites(path, source="qrecc", mark="_", gold=True)
