"""One random generator per context and epoch, whoever draws it.

A generator that is handed from context to context depends on everything drawn before it: resuming a run, or another
number of processes, would change the candidates. Keyed ones depend on nothing but their key.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def generator(seed: int, epoch: int, context_id: str) -> np.random.Generator:
    """The generator of one context in one epoch; equal keys draw equally in every process and on every platform.

    Args:
        seed: seed of the run.
        epoch: 0-based epoch.
        context_id: id of the context, as in the label store.
    """
    # Two integers come before the free text, so no two keys share one spelling.
    key = f"{int(seed)}/{int(epoch)}/{context_id}".encode("utf-8", "surrogatepass")
    return np.random.Generator(np.random.PCG64(int.from_bytes(blake2b(key, digest_size=16).digest(), "little")))
