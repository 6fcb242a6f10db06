"""A student's own lists: what it wrote for each context and which passages that found, kept on disk as it comes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distillir.data import Context, Corpus, Run
from distillir.data.files import replacing
from distillir.recipes.marks import says, write_text
from distillir.sampling import RankedPool, Ranking
from distillir.search import GenerativeRetriever
from distillir.search.generative_scores import Scored
from distillir.training import GenerativeKeys

SHARD = 256  # contexts a file
TOLD = "made_from.txt"


@dataclass(frozen=True)
class OwnLists:
    """What a student finds for contexts, by context id: keys, and passages with their scores, best first."""

    keys: dict[str, GenerativeKeys]
    rankings: dict[str, Ranking]

    def pool(self) -> RankedPool:
        """Rankings of those contexts for which anything was found."""
        return RankedPool.build((name, one) for name, one in self.rankings.items() if len(one.positions))

    def run(self, corpus: Corpus) -> Run:
        """The same as a run."""
        return {
            name: {corpus.doc_id(int(p)): float(s) for p, s in zip(one.positions, one.scores, strict=True)}
            for name, one in self.rankings.items()
            if len(one.positions)
        }


def own_lists(
    retriever: GenerativeRetriever,
    contexts: Sequence[Context],
    folder: Path,
    told: str,
    *,
    depth: int,
    batch: int = 8,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> OwnLists:
    """Write for every context, or read what was written already; a stop loses the shard at work.

    Args:
        retriever: with the student as it is before it learns to rank.
        contexts: what to write for.
        folder: of the shards.
        told: of all they depend on, as `told_by` gives it; others are thrown away.
        depth: passages kept of each list.
        batch: contexts written for together.
        watch: told (done, total).
    """
    if not says(folder / TOLD, told):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_text(folder / TOLD, told)
    keys: dict[str, GenerativeKeys] = {}
    rankings: dict[str, Ranking] = {}
    for start in range(0, len(contexts), SHARD):
        own = contexts[start : start + SHARD]
        path = folder / f"{start // SHARD:06d}.safetensors"
        made = _read(path)
        if made is None:
            made = {}
            for first in range(0, len(own), batch):
                some = own[first : first + batch]
                for context, scored in zip(some, retriever.score([c.conversation for c in some]), strict=True):
                    made[context.id] = cut(scored, depth, retriever.student.end)
                watch(start + first + len(some), len(contexts))
            _write(path, made)
        for name, (key, ranking) in made.items():
            keys[name], rankings[name] = key, ranking
    return OwnLists(keys, rankings)


def cut(scored: Scored, depth: int, end: int) -> tuple[GenerativeKeys, Ranking]:
    """The first `depth` passages, and the keys that they hold; a whole text's key gets its end token."""
    kept = scored.passages[:depth]
    pairs = np.flatnonzero(np.isin(scored.keys.pair_passage, kept))
    chosen, place = np.unique(scored.keys.pair_key[pairs], return_inverse=True)
    keys = GenerativeKeys(
        tuple((*scored.keys.tokens[k], end) if scored.keys.ended[k] else scored.keys.tokens[k] for k in chosen),
        tuple(scored.keys.views[k] for k in chosen),
        scored.keys.prior[chosen],
        place.astype(np.int64),
        scored.keys.pair_passage[pairs],
        scored.factors[pairs],
        scored.keys.weights[chosen],
    )
    return keys, Ranking(kept, scored.scores[:depth].astype(np.float32))


def _write(path: Path, made: dict[str, tuple[GenerativeKeys, Ranking]]) -> None:
    """All contexts of a shard as a few arrays, each with the lengths that cut it."""
    keys, rankings = [one for one, _ in made.values()], [one for _, one in made.values()]
    views = sorted({view for one in keys for view in one.views})
    number = {view: i for i, view in enumerate(views)}
    arrays: dict[str, NDArray[Any]] = {
        "keys": np.array([len(one.tokens) for one in keys], np.int64),
        "lengths": np.array([len(tokens) for one in keys for tokens in one.tokens], np.int64),
        "tokens": np.array([t for one in keys for tokens in one.tokens for t in tokens], np.int64),
        "views": np.array([number[view] for one in keys for view in one.views], np.int64),
        "pairs": np.array([len(one.pair_key) for one in keys], np.int64),
        "passages": np.array([len(one.positions) for one in rankings], np.int64),
    }
    for name in ("prior", "weights", "pair_key", "pair_passage", "factors"):
        arrays[name] = np.concatenate([getattr(one, name) for one in keys])
    for name in ("positions", "scores"):
        arrays[name] = np.concatenate([getattr(one, name) for one in rankings])
    with replacing(path) as temporary:
        save_file(arrays, temporary, {"names": json.dumps(list(made)), "views": json.dumps(views)})


def _read(path: Path) -> dict[str, tuple[GenerativeKeys, Ranking]] | None:
    """What `_write` wrote; None where there is nothing, or only a part of it."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            about = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        return None
    views = json.loads(about["views"])
    tokens = [tuple(one.tolist()) for one in np.split(arrays["tokens"], np.cumsum(arrays["lengths"])[:-1])]
    cuts = {name: np.cumsum([0, *arrays[name]]) for name in ("keys", "pairs", "passages")}
    made = {}
    for i, name in enumerate(json.loads(about["names"])):
        key, pair, passage = (slice(*cuts[of][i : i + 2]) for of in ("keys", "pairs", "passages"))
        keys = GenerativeKeys(
            tuple(tokens[key]),
            tuple(views[v] for v in arrays["views"][key]),
            arrays["prior"][key],
            arrays["pair_key"][pair],
            arrays["pair_passage"][pair],
            arrays["factors"][pair],
            arrays["weights"][key],
        )
        made[name] = keys, Ranking(arrays["positions"][passage], arrays["scores"][passage])
    return made
