"""An encoder reranker as a graph for onnxruntime: on a processor the same scores, about twice as fast.

STUDENT/graph/model.onnx   (P, L) ids, mask and types → (P,) scores, float32
STUDENT/graph/graph.json   whose graph it is, and how far its scores were from the student's
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distillir.conversation import Conversation
from distillir.errors import MissingDependencyError, ModelError
from distillir.students.onnx_graph import exported, plain_attention
from distillir.students.onnx_session import open_session
from distillir.students.reranker_batch import Pairs
from distillir.students.sparse import evaluating
from distillir.students.whole_folder import whole_folder

if TYPE_CHECKING:
    from distillir.students.reranker import RerankerStudent

FOLDER, GRAPH, ABOUT = "graph", "model.onnx", "graph.json"
FORMAT = 1
GAP = 1e-4  # by which scores may differ
INPUTS = ("ids", "mask", "types")


class RerankerGraph:
    """Scores padded pairs, in one thread; several batches may run side by side.

    Args:
        folder: of the graph.

    Raises:
        ModelError: a damaged file. MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / GRAPH, "export the reranker again")
        self._inputs = {one.name for one in self._session.get_inputs()}

    def __call__(self, pairs: Pairs) -> NDArray[np.float32]:
        """(P,) scores."""
        given = {"ids": pairs.ids, "mask": pairs.mask.long(), "types": pairs.types}
        fed = {name: tensor.numpy() for name, tensor in given.items() if name in self._inputs}
        scores: NDArray[np.float32] = self._session.run(None, fed)[0]
        return scores

    def __deepcopy__(self, memo: dict[int, Any]) -> RerankerGraph:
        return self  # nothing in it changes


class _Scores(nn.Module):
    def __init__(self, student: RerankerStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        return self.student.score_pairs(Pairs(ids, mask.bool(), types))


def save_graph(student: RerankerStudent, folder: str | Path) -> float:
    """Export a student into `FOLDER/graph`, whole or not at all, and give it the graph.

    Args:
        student: what is exported; it is in `folder`.
        folder: of the saved student.

    Returns:
        The largest difference of a score to the student's, over pairs of several lengths.

    Raises:
        ModelError: another student is in the folder, the architecture has no graph, or its scores are others.
        MissingDependencyError: a package is not installed.
    """
    from distillir.students.reranker_checkpoint import load_reranker_student  # it loads this module

    place = Path(folder).absolute() / FOLDER
    if load_reranker_student(place.parent).fingerprint() != student.fingerprint():
        raise ModelError(f"{place.parent} holds another reranker than this one", "save this one first")
    pairs = _samples(student)
    with evaluating(student), plain_attention(student.model), torch.no_grad():
        with whole_folder(place, ModelError, "a graph saved there before is as it was") as fresh:
            inputs = dict(zip(INPUTS, (pairs.ids, pairs.mask.long(), pairs.types), strict=True))
            exported(_Scores(student), inputs, {0: "pairs", 1: "length"}, fresh / GRAPH, "scores")
            graph = RerankerGraph(fresh)
            half = Pairs(*(one[:1, : pairs.ids.shape[1] // 2] for one in (pairs.ids, pairs.mask, pairs.types)))
            gap = max(float(np.abs(graph(one) - student.score_pairs(one).numpy()).max()) for one in (pairs, half))
            if not gap <= GAP:
                raise ModelError(f"the graph's scores differ by {gap:.2g}", "rerank with the student itself")
            about = {"format": FORMAT, "student": student.fingerprint(), "largest_gap": gap}
            (fresh / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
        student.graph = RerankerGraph(place)
    return gap


def graph_of(folder: Path, fingerprint: str) -> RerankerGraph | None:
    """The graph of the student in a folder; None where there is none, or no onnxruntime to run it.

    Raises:
        ModelError: it is damaged, or of another student.
    """
    place = folder / FOLDER
    if not (place / ABOUT).is_file():
        return None
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT or about["student"] != fingerprint:
            raise ValueError("of another student")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{place}: no graph of this reranker ({error})", "export it again, or delete it") from error
    try:
        return RerankerGraph(place)
    except MissingDependencyError:
        return None


def _samples(student: RerankerStudent) -> Pairs:
    """Pairs of several lengths, padded."""
    chat = Conversation.from_pairs([("who wrote dune", "frank herbert")], "and when was that")
    query = student.reader.query(chat)
    texts = ("in 1965", "it was published in 1965 by chilton books " * 20, "a desert planet and its spice")
    return student.reader.pad([student.reader.join(query, student.reader.passage(text)) for text in texts])
